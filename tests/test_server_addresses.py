"""Addresses of servers: those that clients take pass, others are named with the form that works, without a secret."""

import pytest

from marketdata_assets.server_addresses import FORMS, problem

GOOD = {
    "postgres_dsn": (
        "postgresql://user:p%40ss@db.example:5432/bars",
        "postgres://db",
        "postgresql:///bars?host=/var/run/postgresql",
        "postgresql://[::1]:5432/bars",
        "postgresql://a:1,b:2/bars?target_session_attrs=read-write",
        "postgresql://u:p@/bars",
        "host=/tmp dbname=bars user=me password='a b'",
        "host=a,b port=1,2",
        "dbname=bars",
    ),
    "budgets": ("postgresql://db/bars",),
    "mongo_uri": (
        "mongodb://u:p%40@a:1,b:2/?replicaSet=rs",
        "mongodb+srv://u:p@cluster.example/db",
        "mongodb://%2Ftmp%2Fmongodb-27017.sock",
        "db.example:27017",
    ),
    "clickhouse_url": ("http://u:p@h:8123/db", "https://[2001:db8::1]:8443/db?cluster=one", "http://u:p@ss@h/db"),
    "nats_url": ("nats://h:4222", "tls://token@h", "nats://a:1,nats://b:2", "nats://a:1,b:2"),
    "redis_url": ("redis://h", "rediss://:p@h:6379/0", "redis://h:6379?db=1"),
    "ray_address": ("10.0.0.1:6379", "ray://head.example:10001"),
    "alert_smtp": ("smtp://u:p@mail.example:587", "smtps://mail.example"),
}
NO_HOST = ("{0}://", "{0}://u:hidden@")
ANY = (
    "{0}://u:hidden@h:port/x",
    "{0}://u:hidden@h:99999",
    "{0}://u:hidden@h:0",
    "{0}://u:hidden@[::1",
    "{0}//u:hidden@h",
)
BAD = {
    "postgres_dsn": (
        "localhost:5432/db",
        "hidden",
        "postgresql://u:hidden%zz@h/db",
        "postgresql://u:hid@den@h/db",
        "mysql://u:hidden@h/db",
        "postgresql://u:hidden@h/db?foo=bar",
        "host=h port=abc password=hidden",
        "postgresql://h:hidden",
    ),
    "mongo_uri": ("mongodb://u:hid@den@h", "mongodb+srv://h:27017", "http://u:hidden@h", "localhost:hidden"),
    "clickhouse_url": ("localhost:8123", "clickhouse://u:hidden@h:9000", "ftp://h"),
    "nats_url": ("localhost:4222", "http://h", "nats://a:1,nats://b:port"),
    "redis_url": ("localhost:6379", "http://u:hidden@h"),
    "alert_smtp": ("mail.example:25",),
    "ray_address": ("bad host:1", "ray://h:port"),
    "budgets": ("mysql://u:hidden@h",),
}


@pytest.mark.parametrize(("name", "address"), [(name, one) for name, all_ in GOOD.items() for one in all_])
def test_what_clients_take_passes(name: str, address: str) -> None:
    assert problem(name, address) == ""


@pytest.mark.parametrize(
    ("name", "address"),
    [(name, one) for name, all_ in BAD.items() for one in all_]
    + [(name, one.format(schemes[0])) for name, (schemes, _) in FORMS.items() for one in ANY]
    + [
        (name, one.format(FORMS[name][0][0]))
        for name in sorted(FORMS.keys() - {"postgres_dsn", "budgets"})
        for one in NO_HOST
    ],
)
def test_what_no_client_takes_is_named_with_the_form_that_works(name: str, address: str) -> None:
    found = problem(name, address)
    assert found.endswith(f"write it as {FORMS[name][1]}")
    assert "hidden" not in found
