"""Three simulated exchanges: captures of a small generated market, and live servers with sockets, REST and faults."""
