"""Notifications: alerts derived from events, operators' messages, read marks and mutes of each person."""
