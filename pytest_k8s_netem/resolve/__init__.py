"""From profiles and the world to one plan a pod; pure, standard library only."""
