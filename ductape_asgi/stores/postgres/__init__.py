"""Sessions in PostgreSQL, shared by any number of machines."""

try:
    from .store import PostgresStore
except ModuleNotFoundError as error:
    if error.name != "asyncpg":
        raise
    from ...errors import ConfigurationError

    raise ConfigurationError('the PostgreSQL store needs asyncpg: pip install "ductape-asgi[postgres]"') from error

__all__ = ["PostgresStore"]
