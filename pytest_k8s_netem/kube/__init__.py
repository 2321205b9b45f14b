"""Real clusters: the agent's image, ways into pods over the API server, injection, Docker and kind as programs."""
