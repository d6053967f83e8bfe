"""A page on which trials are queued, and on which a service is watched, stopped and continued."""
