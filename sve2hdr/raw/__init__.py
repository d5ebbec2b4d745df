"""What raw files say: their tags, the shot, colours, masked margins, and whether they are whole."""
