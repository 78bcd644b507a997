"""A small invented market of three venues, as captures of their own messages: for the demo, the tests and the bench."""
