"""Alerts to people: one message to a webhook, by e-mail, or both. Which events raise an alert is decided elsewhere."""

import json
import smtplib
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from marketdata_assets.errors import TerminalError, TransientError
from marketdata_assets.http_client import safe_url
from marketdata_assets.proxies import LOOPBACK

TIMEOUT_SECONDS = 10.0
PORTS = {"smtp": 587, "smtps": 465}


class BadAlertAddress(TerminalError):
    """The address of a webhook or of a mail server cannot be used."""

    def __init__(self, variable: str, cause: str) -> None:
        super().__init__(f"{variable} {cause}")


class AlertNotSent(TransientError):
    """The message was not accepted; it is sent again later."""

    def __init__(self, where: str, cause: str) -> None:
        super().__init__(f"the {where} did not accept the alert ({cause}); it is sent again at the next tick")


@dataclass(frozen=True)
class Alert:
    """What happened, in a sentence; a line for each case; and the same for machines."""

    title: str
    lines: Sequence[str]
    facts: Mapping[str, Any]

    @property
    def text(self) -> str:
        return "\n".join([self.title, *self.lines])


def post(webhook: str, alert: Alert, variable: str = "MARKETDATA_ALERT_WEBHOOK") -> None:
    """POST the alert as JSON: `text` is for people, the other keys are facts. The address is a secret and never shown;
    errors name its `variable`.

    It does not use httpx, which logs the address of every request.
    """
    try:
        url = safe_url(webhook)
    except ValueError:
        cause = "must be an https:// address, or http:// on this machine, without a user or password in it"
        raise BadAlertAddress(variable, cause) from None
    body = json.dumps({"text": alert.text, **alert.facts}).encode()
    request = Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - its scheme is checked
    try:
        proxies = ProxyHandler({} if urlsplit(url).hostname in LOOPBACK else None)
        with build_opener(_NoRedirects, proxies).open(request, timeout=TIMEOUT_SECONDS):
            pass
    except HTTPError as error:
        error.close()
        raise AlertNotSent("webhook", f"status {error.code}") from None
    except URLError as error:
        raise AlertNotSent("webhook", type(error.reason).__name__) from None
    except (OSError, HTTPException) as error:
        raise AlertNotSent("webhook", type(error).__name__) from None


class _NoRedirects(HTTPRedirectHandler):
    """Follow no redirect, so that the alert reaches nobody but the webhook."""

    def redirect_request(self, *_: Any) -> None:
        return None


def mail(server: str, addresses: str, alert: Alert) -> None:
    """Send the alert from the first of `addresses` to the others; STARTTLS is used where the server offers it."""
    url = urlsplit(server)
    sender, *receivers = [one.strip() for one in addresses.split(",") if one.strip()] or [""]
    if url.scheme not in PORTS or not url.hostname:
        raise BadAlertAddress("MARKETDATA_ALERT_SMTP", "must be smtp://user:password@host:587 or smtps://host:465")
    if not receivers:
        raise BadAlertAddress("MARKETDATA_ALERT_MAIL", "must name the sender and at least one receiver")
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = alert.title, sender, ", ".join(receivers)
    message.set_content(alert.text)
    try:
        with _connect(url.scheme, url.hostname, url.port or PORTS[url.scheme]) as client:
            if url.username:
                if not isinstance(client.sock, ssl.SSLSocket) and url.hostname not in LOOPBACK:
                    cause = f"has a password, and {url.hostname} does not encrypt; use smtps:// or another server"
                    raise BadAlertAddress("MARKETDATA_ALERT_SMTP", cause)
                client.login(unquote(url.username), unquote(url.password or ""))
            client.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        raise AlertNotSent("mail server", type(error).__name__) from None


def _connect(scheme: str, host: str, port: int) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if scheme == "smtps":
        return smtplib.SMTP_SSL(host, port, timeout=TIMEOUT_SECONDS, context=context)
    client = smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS)
    client.ehlo()
    if client.has_extn("starttls"):
        client.starttls(context=context)
    return client
