"""The servers that are compared: Beacon itself and others that send Server-Sent Events. One worker each."""
