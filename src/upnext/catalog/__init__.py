"""The catalogue: videos and users, item_id, dense codes."""
