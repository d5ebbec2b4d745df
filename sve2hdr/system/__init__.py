"""What the machine gives: files written whole, places, locks, devices, signals."""
