"""The names that columns of files have in tables."""

import re

CHINESE = {
    "symbol": "股票代码 证券代码 代码 合约代码 交易代码",
    "name": "股票名称 证券名称 证券简称 名称",
    "trade_date": "交易日期 交易日",
    "day": "日期",
    "time": "时间 交易时间",
    "open": "开盘价 开盘",
    "high": "最高价 最高",
    "low": "最低价 最低",
    "close": "收盘价 收盘",
    "pre_close": "前收盘价 前收盘 昨收",
    "volume": "成交量",
    "amount": "成交额 成交金额",
    "pct_change": "涨跌幅",
    "change": "涨跌额",
    "turnover_rate": "换手率",
    "market_value": "市值",
    "total_market_value": "总市值",
    "circulation_market_value": "流通市值",
    "price": "价格",
    "quantity": "数量",
    "side": "方向",
    "open_interest": "持仓量",
    "settle": "结算价",
    "industry": "行业",
}
NAMES = {theirs: ours for ours, names in CHINESE.items() for theirs in names.split()}
"""What columns of Chinese files are called here."""


def identifier(source: str) -> str:
    """The name that follows from `source`: `LastPrice` is last_price. It may be no identifier, as that of a digit."""
    words = NAMES.get(source) or re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", source).lower()
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_")
