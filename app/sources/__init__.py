"""Hear: one poller asks every watched job service what it has; nothing here knows what Beacon believes."""
