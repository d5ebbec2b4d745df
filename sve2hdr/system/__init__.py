"""What the machine gives: files written whole, locks, memory, devices, signals."""
