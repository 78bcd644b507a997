"""Raw traffic on disk: what a socket or a request brought, byte for byte, with the time it was received.

What the bytes mean is the business of the venues' modules.
"""
