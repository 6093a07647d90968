"""The engine behind a session: ``intake`` (appends), ``writer`` (drains), ``host`` (the thread), ``engine`` (life)."""
