"""What sensors add to the light, measured on the frame and removed: noise, bad sites, banding, line gains."""
