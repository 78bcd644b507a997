"""Whether minute bars, ticks and daily files say the same of a stock's day."""
