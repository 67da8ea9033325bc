"""Sessions that learn: what one is asked for, how it is played, recorded and resumed."""
