"""Sources: read the watched job services and send commands to them. Knows nothing of Beacon's recorded state."""
