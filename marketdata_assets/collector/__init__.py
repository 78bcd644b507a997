"""The live service: connections to the venues, the records they deliver, and the sinks that store them."""
