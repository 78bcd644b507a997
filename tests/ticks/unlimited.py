"""Providers without limits that would be in a test's way: Tushare, and files after it."""

UNLIMITED = """
tushare:
  enabled: true
  priority: 1
  supports: [tick_data, factors]
  rate_limits: {requests_per_minute: 100000, requests_per_hour: 1000000}
  network: {timeout: 30, max_retries: 1, backoff: 0.01}
  quality: {min_price: 0.01, max_price: 10000, max_volume: 1.0e+9, max_return: 0.31}
  symbol_mapping: {suffixes: {SH: SH, SZ: SZ, BJ: BJ}, symbols: {}}
  session: {timezone: Asia/Shanghai, hours: ["09:30-11:30", "13:00-15:00"]}
files:
  enabled: true
  priority: 3
  supports: [tick_data, order_book]
  quality: {min_price: 0.01, max_price: 10000, max_volume: 1.0e+9, max_return: 0.31}
  symbol_mapping: {suffixes: {SH: SH, SZ: SZ, BJ: BJ}, symbols: {}}
  session: {timezone: Asia/Shanghai, hours: ["09:30-11:30", "13:00-15:00"]}
"""
