"""Codes, the password-authenticated handshake and sealed packets; pure given entropy."""
