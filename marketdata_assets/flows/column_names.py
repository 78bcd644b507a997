"""The names that columns of files have in tables."""

import re

CHINESE = {
    "symbol": "股票代码 证券代码 證券代號 證券代碼 股份代號 股票代號 代码 代碼 代號 合约代码 合约 交易代码 基金代码",
    "name": "股票名称 证券名称 證券名稱 证券简称 股票简称 名称 名稱 简称 合约名称 基金名称",
    "trade_date": "交易日期 交易日 成交日期 发生日期 日線日期",
    "trade_time": "成交时间 发生时间",
    "order_date": "委托日期",
    "order_time": "委托时间 报单时间",
    "settle_date": "交收日期 清算日期 交割日期",
    "day": "日期 年月日",
    "time": "时间 時間 交易时间",
    "open": "开盘价 开盘 今开盘 今开 開盤價",
    "high": "最高价 最高 最高價",
    "low": "最低价 最低 最低價",
    "close": "收盘价 收盘 今收盘 收盤價 最新价",
    "pre_close": "前收盘价 前收盘 昨收 昨收盘 昨收价 昨日收盘",
    "volume": "成交量 总手 成交股數 成交手",
    "amount": "成交额 成交金额 成交額 成交金額",
    "trades": "成交笔数 成交筆數",
    "pct_change": "涨跌幅 涨幅 涨幅%",
    "change": "涨跌额 涨跌 涨跌1",
    "change_2": "涨跌2",
    "amplitude": "振幅",
    "turnover_rate": "换手率 换手",
    "volume_ratio": "量比",
    "pe": "市盈率 本益比",
    "pb": "市净率",
    "market_value": "市值 最新市值 参考市值",
    "total_market_value": "总市值",
    "circulation_market_value": "流通市值",
    "total_shares": "总股本",
    "float_shares": "流通股本",
    "price": "价格 成交价格 成交价 成交均价",
    "quantity": "数量 成交数量",
    "order_price": "委托价格 委托价",
    "order_quantity": "委托数量 委托量",
    "order_id": "委托编号 委托序号 委托号 合同编号 合同号 报单编号",
    "trade_id": "成交编号 成交序号 成交号",
    "side": "方向 买卖标志 买卖方向 买卖 委托方向 操作 买卖类别",
    "offset_flag": "开平 开平标志",
    "hedge_flag": "投保 投机套保",
    "account": "股东代码 股东账号 股东帐户 股东账户 资金账号 资金账户",
    "client_id": "客户代码 客户号 客户编号",
    "fee": "手续费 费用 交易费",
    "commission": "佣金 净佣金",
    "stamp_tax": "印花税",
    "transfer_fee": "过户费",
    "other_fees": "其他费用 其他杂费 其它费用 附加费",
    "net_amount": "发生金额 清算金额 收付金额",
    "cash_balance": "资金余额 剩余金额 本次金额 资金本次余额",
    "position": "股份余额 证券余额 股票余额 持仓数量 持仓 证券数量 本次股份",
    "available": "可用余额 可用股份 可用数量",
    "cost_price": "成本价 买入成本 参考成本价 成本",
    "last_price": "市价 当前价 现价",
    "profit": "盈亏 浮动盈亏 参考盈亏 平仓盈亏",
    "profit_pct": "盈亏比例 盈亏比例(%) 盈亏比",
    "currency": "币种 货币",
    "exchange": "交易市场 市场 交易所 交易所名称",
    "business": "业务名称 业务类型 摘要",
    "status": "状态 委托状态 成交状态",
    "remark": "备注 说明",
    "product": "品种 品种代码 品种名称",
    "delivery_month": "交割月份",
    "open_interest": "持仓量 空盘量",
    "open_interest_change": "持仓量变化 增减量 持仓变化",
    "settle": "结算价 今结算 结算参考价",
    "pre_settle": "昨结算 前结算 前结算价 昨结算价",
    "year": "年份 年度",
    "quarter": "季度",
    "month": "月份 年月",
    "report_date": "报告期 报告日期 截止日期",
    "announce_date": "公告日期",
    "list_date": "上市日期",
    "delist_date": "退市日期",
    "revenue": "营业收入 营业总收入",
    "net_profit": "净利润",
    "eps": "每股收益",
    "industry": "行业 所属行业",
}
NAMES = {theirs: ours for ours, names in CHINESE.items() for theirs in names.split()}
"""What columns of Chinese files are called here."""


def identifier(source: str) -> str:
    """The name that follows from `source`: `LastPrice` is last_price. It may be no identifier, as that of a digit."""
    words = (
        NAMES.get(source)
        or NAMES.get(re.sub(r"\s*[(（].*[)）]$", "", source))
        or re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", source).lower()
    )
    return re.sub(r"[^a-z0-9]+", "_", words).strip("_")
