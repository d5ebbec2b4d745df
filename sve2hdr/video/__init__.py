"""Magic Lantern video: clips -> CinemaDNG frames and sound."""
