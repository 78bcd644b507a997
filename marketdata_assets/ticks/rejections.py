"""What an answer that is no data rejects, and what follows: one table of codes and texts.

Of the rules of a provider the first that fits the code and the text of an answer holds, so texts come before the codes
that many rejections share, and an unknown text is treated by its code. How the errors look is decided in
`provider_client`.
"""

import datetime as dt
import re
from collections.abc import Container, Sequence
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

Scope = Literal["request", "interface", "account"]
"""Who is rejected: this request, every request to its interface, or every request of the account (of the machine)."""

Then = Literal["retry", "slow", "reject", "wait", "permission", "token"]
"""retry: the request is sent again after the usual pause. slow: the same, with fewer at a time; a whole account is
blocked when all attempts end so. reject: the request fails. wait: nobody asks again before the time is over.
permission and token: a person has to act, and this load does not ask again."""

BEIJING = ZoneInfo("Asia/Shanghai")
HOUR, DAY = 3600.0, 86400.0

IP_SECONDS = 1800.0
"""Users report that addresses are forgotten after 30 to 60 minutes: https://github.com/waditu/tushare/issues/1822"""

DOOR_SECONDS = 1800.0
"""How long a provider that shows a web page, or 403, instead of data is left alone."""

_ADDRESSES = "Each address counts, those of VPNs and proxies too: use one, or wait 30 to 60 minutes"
_A_DAY = r"每[天日]|次\s*[/／]\s*[天日]|今[天日]|当[天日]"
_DOOR = (
    "Open its address in a browser on this machine to see what answers: the provider itself, or a firewall or proxy"
    " on the way"
)

WHATEVER_THE_RATE = (
    "It does so to many programs whatever their rate; use another provider, or your files, and see what it answers"
    " with `marketdata doctor --yahoo`"
)


class Rule(NamedTuple):
    """A kind of answer, and what follows. `text` is a regular expression to be found in the text, empty for any.

    `codes` are those of the provider, or statuses of HTTP; None is any. `seconds` are those to wait, None those of the
    period that the text names. `advice` is the remedy, where it is not that of the error's kind.
    """

    scope: Scope
    then: Then
    text: str = ""
    codes: Container[int] | None = None
    seconds: float | None = None
    advice: str = ""


TUSHARE: Sequence[Rule] = (
    Rule("account", "token", r"token.{0,8}(不对|无效|错误|不正确|失败|失效|过期|不存在|为空|非法|invalid|expired)"),
    Rule("account", "token", r"(invalid|有效的|正确的)\s*token"),
    Rule(
        "account",
        "wait",
        r"(?<![a-z_])IP(?![a-z_]).{0,40}(超限|超过|上限|受限|限制|最大|白名单|黑名单|封)",
        seconds=IP_SECONDS,
        advice=_ADDRESSES,
    ),
    Rule("account", "token", r"(账号|帐号|账户|用户).{0,8}(禁用|冻结|停用|封|过期|异常|注销|不存在)"),
    Rule("request", "slow", r"并发"),
    Rule("account", "wait", rf"^(?!.*接口).*({_A_DAY}).*(最多|超限|上限|用完)"),
    Rule("interface", "wait", r"频[率次度].{0,4}(超限|超出|超过|限制|受限|过高|太高)|最多可?(访问|调用|请求)"),
    Rule("interface", "wait", r"次\s*[/／]|每\s*\d*(秒|分|小?时|天|日).{0,8}次|rate limit|too many"),
    Rule("interface", "wait", r"(次数|请求|访问|调用).{0,8}(超限|上限|超过|用完|过快|太快|频繁|过多)"),
    Rule("account", "permission", r"(任何|所有|全部)(数据)?接口|余额不足|欠费"),
    Rule("interface", "permission", r"权限|无权|未授权|积分|未开通|未购买|permission"),
    Rule("interface", "permission", r"接口.{0,10}(下线|停用|关闭|废弃)"),
    Rule("request", "reject", r"参数|必填|接口名|格式"),
    Rule("request", "retry", r"系统|内部错误|服务|稍后|超时|维护|繁忙"),
    Rule("account", "token", codes={40101}),
    Rule("account", "wait", codes={40204}, seconds=IP_SECONDS, advice=_ADDRESSES),
    Rule("interface", "wait", codes={40203}, seconds=HOUR),
    Rule("interface", "permission", codes={2002, -2002}),
    Rule("request", "retry", codes=range(50000, 60000)),
    Rule("request", "reject"),  # -2001 and 40001, a wrong parameter, and every other code
)
"""By the structure of the texts, as codes are shared: 40203 and -2002 are limits and missing permissions alike.

    {"code": 40203, "msg": "抱歉，您访问接口(stk_mins)频率超限(10次/天)，...", "data": null}
    {"code": -2002, "msg": "抱歉，您访问接口(index_daily)频率超限(500次/分钟)", "data": null}
    {"code": 40203, "msg": "抱歉，您每小时最多访问该接口1次，权限的具体详情访问：...", "data": null}
    {"code": 40204, "msg": "您的IP数量超限，最大数量为5个！", "data": null}
"""

WEB: Sequence[Rule] = (
    Rule("request", "slow", codes={429}),
    Rule("request", "retry", codes={408, 425, *range(500, 600)}),
    Rule("account", "wait", codes={401, 403, 405, 407, 451, 999}, seconds=DOOR_SECONDS, advice=_DOOR),
    Rule("account", "wait", codes=range(300, 400), seconds=DOOR_SECONDS, advice=_DOOR),
    Rule("account", "wait", r"^\s*<", seconds=DOOR_SECONDS, advice=_DOOR),
    Rule("request", "reject"),
)
"""By the status of HTTP: what answers may be a door before the provider, as a firewall or a page that asks for consent.

A page of HTML (`<`) instead of data is one too, whatever its status below 500.
"""

YAHOO: Sequence[Rule] = (
    Rule("account", "slow", codes={429}),
    Rule("account", "slow", r"too many requests", codes={200}),
    Rule("account", "wait", r"unauthorized|invalid (crumb|cookie)", codes={200}, seconds=DOOR_SECONDS, advice=_DOOR),
    *WEB,
)
"""Yahoo answers 429 to programs that it does not want, whatever their rate, and has said so with 200."""

ALPACA: Sequence[Rule] = (
    Rule("interface", "permission", r"subscription", codes={403, 422}),
    Rule("account", "token", codes={401, 403}),
    Rule("interface", "wait", codes={429}, seconds=60.0),
)
"""{"message": "forbidden."}: its JSON, before WEB. The limit of requests is one of a minute."""

_PERIOD = re.compile(
    r"(?:每|[/／])\s*(\d*)[一]?\s*(秒|分|小?时|天|日|周|月)|(\d+)\s*(秒|分|小?时|天|日)钟?[内之]|今[天日]|当[天日]"
)
_SECONDS = {"秒": 1.0, "分": 60.0, "时": HOUR, "小时": HOUR}


def rule_of(rules: Sequence[Rule], code: int, text: str) -> Rule:
    """The first rule that fits; the last fits any answer."""
    fits = (
        rule
        for rule in rules
        if (rule.codes is None or code in rule.codes)
        and (not rule.text or re.search(rule.text, text, re.IGNORECASE | re.DOTALL))
    )
    return next(fits)


def seconds_of(rule: Rule, text: str, now: dt.datetime) -> float:
    """How long to wait: as the rule says, else the period that the text names; of a day, until the next in Beijing.

    A text without a period is that of a limit per minute, the most frequent.
    """
    if rule.seconds is not None:
        return rule.seconds
    found = _PERIOD.search(text)
    if found is None:
        return _SECONDS["分"]
    number, period = found[1] or found[3] or "1", found[2] or found[4] or "天"
    if period in _SECONDS:
        return min(int(number) * _SECONDS[period], DAY)
    here = now.astimezone(BEIJING)
    tomorrow = dt.datetime.combine(here.date() + dt.timedelta(days=1), dt.time(), BEIJING)
    return (tomorrow - here).total_seconds()
