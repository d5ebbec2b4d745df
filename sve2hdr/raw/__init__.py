"""What raw files say: the shot, colours, masked margins, and whether they are whole."""
