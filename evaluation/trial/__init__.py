"""``synthaug try``: what a fold holds, what to mix in, how long it takes, and the verdict."""
