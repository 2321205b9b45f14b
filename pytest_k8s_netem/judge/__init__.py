"""Whether what was observed is what was planned; pure, standard library only."""
