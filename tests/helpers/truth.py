# Copyright (c) 2026, The meshops.istio_precheck authors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The truth tables of the rule. test__mesh, test__rule and test__evaluate hold the code against them, and docs/verdicts.md shows them.

`python truth.py` prints them as the page has them.
"""

from __future__ import annotations

# ---------------------------------------------------------------------------------------------------------------------
# 1. Where a connection ends up. One column for each kind of control plane.

PLANES = {
    "1.9": [{"version": "1.9.9"}, {"version": "1.9.9", "opt_out": True}, {"version": "1.6.14"}],
    "1.10 to 1.20": [{"version": "1.10.0"}, {"version": "1.20.8"}, {"version": "1.20.8", "localhost": True}],
    "the same, opt-out": [{"version": "1.10.0", "opt_out": True}, {"version": "1.20.8", "opt_out": True}],
    "1.21": [{"version": "1.21.0"}, {"version": "1.21.6", "opt_out": True}, {"version": "1.21.6", "localhost": True}],
    "1.22 on": [{"version": "1.22.0"}, {"version": "1.30.0", "opt_out": True}],
    "the same, LOCALHOST": [{"version": "1.22.0", "localhost": True}, {"version": "1.30.1", "localhost": True}],
}

LO, LO6, IP, KERNEL, UNIX, CLOSED, UNKNOWN = "127.0.0.1", "::1", "pod IP", "kernel", "unix", "closed", "unknown"
DEFAULT, DEFAULT_6 = (LO, IP, LO, IP, IP, LO), (LO6, IP, LO6, IP, IP, LO6)


def always(where):
    return (where,) * len(PLANES)


NONE = {"annotations": {"sidecar.istio.io/interceptionMode": "NONE"}}
NONE_BY_CONFIG = {"annotations": {"proxy.istio.io/config": '{"interceptionMode": "NONE"}'}}
TPROXY = {"annotations": {"sidecar.istio.io/interceptionMode": "TPROXY"}}
V4_FIRST, V6_FIRST, V6_ALONE = {"ips": ("10.0.0.5", "fd00::5")}, {"ips": ("fd00::5", "10.0.0.5")}, {"ips": ("fd00::5",)}
EXCLUDED = {"annotations": {"traffic.sidecar.istio.io/excludeInboundPorts": "22, 8080"}}

# What is special about the pod, the port or the Sidecar; pod(), port and ingress in the words of cluster.py; where it ends up.
DELIVERY = [
    ("nothing", {}, 8080, None, DEFAULT),
    ("native sidecar", {"native": True}, 8080, None, DEFAULT),
    ("no status annotation", {"revision": None}, 8080, None, DEFAULT),
    ("proxy newer than istiod", {"proxy": "1.24.0"}, 8080, None, DEFAULT),
    ("proxy image by digest", {"proxy": "@sha256:0123"}, 8080, None, DEFAULT),
    ("interception mode TPROXY", TPROXY, 8080, None, (UNKNOWN, IP, UNKNOWN, IP, IP, UNKNOWN)),
    (
        "interception mode TPROXY, pod with IPv6 alone, istio-init up to 1.11",
        {**TPROXY, **V6_ALONE, "init": ["-m", "TPROXY", "-b", "*", "-d", ""], "init_version": "1.11.8"},
        8080,
        None,
        always(CLOSED),
    ),
    (
        "interception mode TPROXY, pod with IPv6 alone, istio-init from 1.12",
        {**TPROXY, **V6_ALONE, "init": ["-m", "TPROXY", "-b", "*", "-d", ""], "init_version": "1.12.0"},
        8080,
        None,
        DEFAULT_6,
    ),
    ("pod with both families, asked over IPv4", V4_FIRST, 8080, None, DEFAULT),
    ("pod with both families, asked over IPv6", V4_FIRST, 8080, None, always(KERNEL)),
    ("pod with both families, IPv6 first, asked over IPv4", V6_FIRST, 8080, None, DEFAULT),
    ("pod with both families, IPv6 first, asked over IPv6", V6_FIRST, 8080, None, always(CLOSED)),
    ("pod with IPv6 alone", V6_ALONE, 8080, None, DEFAULT_6),
    ("no sidecar", {"proxy": None}, 8080, None, always(KERNEL)),
    ("hostNetwork", {"host_network": True}, 8080, None, always(KERNEL)),
    ("gateway", {"role": "router"}, 8080, None, always(KERNEL)),
    ("waypoint", {"role": "waypoint"}, 8080, None, always(KERNEL)),
    (
        "agent of proxyless gRPC",
        {"annotations": {"inject.istio.io/templates": "grpc-agent"}},
        8080,
        None,
        always(KERNEL),
    ),
    (
        "ambient: ztunnel delivers",
        {"proxy": None, "annotations": {"ambient.istio.io/redirection": "enabled"}},
        8080,
        None,
        always(IP),
    ),
    ("interception mode NONE, by annotation", NONE, 8080, None, always(KERNEL)),
    ("interception mode NONE, by `proxy.istio.io/config`", NONE_BY_CONFIG, 8080, None, always(KERNEL)),
    (
        "interception mode NONE, by the proxy's variable",
        {"env": {"ISTIO_META_INTERCEPTION_MODE": "NONE"}},
        8080,
        None,
        always(KERNEL),
    ),
    ("interception mode NONE, Sidecar lists the port", NONE, 8080, "127.0.0.1:8080", always(LO)),
    ("istio-init `-m REDIRECT`, annotation NONE", {"init": ["-m", "REDIRECT"], **NONE}, 8080, None, DEFAULT),
    ("port excluded, by annotation", EXCLUDED, 8080, None, always(KERNEL)),
    ("port excluded, by istio-init `-d`", {"init": ["-b", "*", "-d", "15090,8080"]}, 8080, None, always(KERNEL)),
    ("port excluded, but includes are a list with it", {"init": ["-b", "8080", "-d", "8080"]}, 8080, None, DEFAULT),
    (
        "includes are a list without the port",
        {"annotations": {"traffic.sidecar.istio.io/includeInboundPorts": "80,18080"}},
        8080,
        None,
        always(KERNEL),
    ),
    (
        "includes are empty",
        {"annotations": {"traffic.sidecar.istio.io/includeInboundPorts": ""}},
        8080,
        None,
        always(KERNEL),
    ),
    ("includes are empty, by istio-init `-b`", {"init": ["-b", "", "-d", ""]}, 8080, None, always(KERNEL)),
    (
        "annotation excludes, istio-init ran without",
        {"init": ["-b", "*", "-d", "15090"], **EXCLUDED},
        8080,
        None,
        DEFAULT,
    ),
    ("excluded port, Sidecar lists it", {"init": ["-b", "*", "-d", "8080"]}, 8080, "127.0.0.1:8080", always(KERNEL)),
    (
        "port 22, istio-init up to 1.12",
        {"init": ["-b", "*", "-d", ""], "init_version": "1.12.9"},
        22,
        None,
        always(KERNEL),
    ),
    ("port 22, istio-init from 1.13", {"init": ["-b", "*", "-d", ""], "init_version": "1.13.0"}, 22, None, DEFAULT),
    ("port 22, istio-cni, proxy up to 1.12", {"proxy": "1.12.0"}, 22, None, always(KERNEL)),
    ("port 15008", {}, 15008, None, always(KERNEL)),
    ("port 15008, interception mode TPROXY", TPROXY, 15008, None, (UNKNOWN, IP, UNKNOWN, IP, IP, UNKNOWN)),
    ("port 15020", {}, 15020, None, always(KERNEL)),
    ("port 15021", {}, 15021, None, always(KERNEL)),
    ("port 15090", {}, 15090, None, always(KERNEL)),
    (
        "status port set by annotation",
        {"annotations": {"status.sidecar.istio.io/port": "8080"}},
        8080,
        None,
        always(KERNEL),
    ),
    ("Sidecar: `127.0.0.1:8080`", {}, 8080, "127.0.0.1:8080", always(LO)),
    ("Sidecar: `127.0.0.1:8080`, pod with IPv6 alone", V6_ALONE, 8080, "127.0.0.1:8080", always(LO6)),
    ("Sidecar: `127.0.0.1:9000`", {}, 8080, "127.0.0.1:9000", always("127.0.0.1 port 9000")),
    ("Sidecar: `0.0.0.0:8080`", {}, 8080, "0.0.0.0:8080", always("10.0.0.5")),
    ("Sidecar: `unix:///run/app.sock`", {}, 8080, "unix:///run/app.sock", always(UNIX)),
    ("Sidecar: no defaultEndpoint", {}, 8080, "", always(IP)),
    ("Sidecar: `:8080`", {}, 8080, ":8080", (LO, IP, IP, IP, IP, IP)),
    ("Sidecar: `10.9.9.9:8080`, which none accepts", {}, 8080, "10.9.9.9:8080", always(IP)),
    ("Sidecar lists other ports only", {}, 9090, "127.0.0.1:8080", always(IP)),
]

ASKED = {
    "pod with both families, asked over IPv6": "fd00::5",
    "pod with both families, IPv6 first, asked over IPv4": "10.0.0.5",
}
"""The address that is asked, where it is not the pod's first one."""

# ---------------------------------------------------------------------------------------------------------------------
# 2. What becomes of it. The pod has 10.0.0.5 and fd00::5; a row is asked at the addresses named.

ANY = "anywhere"

VERDICTS = [
    # binds, asked at, today, after, verdict
    ("127.0.0.1:8080", "IPv4", LO, IP, "breaks_on_upgrade"),
    ("127.0.0.1:8080", "IPv4", IP, IP, "unreachable"),
    ("127.0.0.1:8080", "IPv4", KERNEL, KERNEL, "unreachable"),
    ("127.0.0.1:8080", "IPv4", "unknown", IP, "unknown"),
    ("127.0.0.1:8080", "IPv4", LO, "unknown", "breaks_on_upgrade"),
    ("127.0.0.1:8080", "IPv4", LO, LO, "remediated"),
    ("127.0.0.1:8080", "IPv4", IP, LO, "remediated"),
    ("127.0.0.1:8080", "IPv4", "unknown", LO, "remediated"),
    ("127.0.0.1:8080", "IPv4", UNIX, UNIX, "remediated"),
    ("127.0.0.1:8080", "IPv4", LO6, IP, "unreachable"),
    ("[::ffff:127.0.0.1]:8080", "IPv4", LO, IP, "breaks_on_upgrade"),
    ("127.0.0.2:8080", "IPv4", LO, IP, "unreachable"),
    ("127.0.0.2:8080", "IPv4", LO, LO, "unreachable"),
    ("127.0.0.2:8080", "IPv4", "unknown", IP, "unreachable"),
    ("10.0.0.5:8080 127.0.0.2:8080", "IPv4", "unknown", LO, "unknown"),
    ("127.0.0.53%lo:8080", "IPv4", LO, IP, "unreachable"),
    ("0.0.0.0%lo:8080", "IPv4", LO, IP, "breaks_on_upgrade"),
    ("[::1]:8080", "IPv4", LO, IP, "unreachable"),
    ("[::1]:8080", "IPv6", LO, IP, "unreachable"),
    ("[::1]:8080", "IPv6", LO6, IP, "breaks_on_upgrade"),
    ("[::1]:8080", "IPv6", LO6, LO6, "remediated"),
    ("127.0.0.1:8080 [::1]:8080", "both", LO, IP, "breaks_on_upgrade"),
    ("127.0.0.1:8080 [::1]:8080", "both", LO, LO, "remediated"),
    ("0.0.0.0:8080", "IPv4", LO, IP, "ok"),
    ("0.0.0.0:8080", "IPv6", LO, IP, "breaks_on_upgrade"),
    ("0.0.0.0:8080", "IPv6", IP, IP, "not_listening"),
    ("*:8080", "both", LO, IP, "ok"),
    ("[::]:8080", "IPv6", LO6, IP, "ok"),
    ("[::]:8080", "IPv4", LO, IP, "not_listening"),
    ("0.0.0.0:8080 127.0.0.1:8080", "IPv4", LO, IP, "ok"),
    ("10.0.0.5:8080 127.0.0.1:8080", "IPv4", LO, IP, "ok"),
    ("*:8080 127.0.0.1:8080", "both", LO, IP, "ok"),
    ("0.0.0.0:8080 [::1]:8080", "IPv4", LO, IP, "ok"),
    ("0.0.0.0:8080 [::1]:8080", "IPv6", LO, IP, "breaks_on_upgrade"),
    ("0.0.0.0:8080 [::1]:8080", "IPv6", IP, IP, "unreachable"),
    ("0.0.0.0:8080 [::1]:8080", "both", LO, IP, "breaks_on_upgrade"),
    ("[::]:8080 127.0.0.1:8080", "IPv4", LO, IP, "breaks_on_upgrade"),
    ("[::]:8080 127.0.0.1:8080", "IPv6", LO, IP, "ok"),
    ("10.0.0.5:8080", "IPv4", LO, IP, "ok"),
    ("10.0.0.5:8080", "IPv4", IP, LO, "breaks_on_upgrade"),
    ("10.0.0.5:8080", "IPv4", IP, "unknown", "breaks_on_upgrade"),
    ("10.0.0.5:8080", "IPv4", LO, "unknown", "not_listening"),
    ("10.0.0.5:8080", "IPv4", "unknown", "unknown", "ok"),
    ("0.0.0.0:8080", "IPv4", IP, "unknown", "ok"),
    ("10.0.0.5:8080", "IPv4", "unknown", LO, "unknown"),
    ("10.0.0.9:8080", "IPv4", LO, IP, "not_listening"),
    ("10.0.0.9:8080 127.0.0.1:8080", "IPv4", LO, IP, "breaks_on_upgrade"),
    ("nothing", "IPv4", LO, IP, "not_listening"),
    ("127.0.0.1:9999", "IPv4", LO, IP, "not_listening"),
    ("127.0.0.1:9000", "IPv4", "127.0.0.1 port 9000", "127.0.0.1 port 9000", "remediated"),
    ("0.0.0.0:9000", "IPv4", "127.0.0.1 port 9000", "127.0.0.1 port 9000", "ok"),
    ("127.0.0.1:8080", "IPv4", "127.0.0.1 port 9000", "127.0.0.1 port 9000", "unreachable"),
    ("nothing", "IPv4", "127.0.0.1 port 9000", "127.0.0.1 port 9000", "not_listening"),
    ("127.0.0.1:9000", "IPv4", "127.0.0.1 port 9000", IP, "breaks_on_upgrade"),
    ("0.0.0.0:9000", "IPv4", "127.0.0.1 port 9000", IP, "breaks_on_upgrade"),
    ("127.0.0.1:9000", "IPv4", "unknown port 9000", IP, "unknown"),
    ("127.0.0.2:9000", "IPv4", "127.0.0.1 port 9000", IP, "not_listening"),
    ("nothing", "IPv4", "127.0.0.1 port 9000", IP, "not_listening"),
    ("0.0.0.0:9000", "IPv6", "127.0.0.1 port 9000", IP, "breaks_on_upgrade"),
    ("127.0.0.1:9000 127.0.0.1:8080", "IPv4", "127.0.0.1 port 9000", IP, "breaks_on_upgrade"),
    ("127.0.0.1:9000 0.0.0.0:8080", "IPv4", "127.0.0.1 port 9000", IP, "ok"),
    ("0.0.0.0:8080", "IPv4", LO, "127.0.0.1 port 9000", "breaks_on_upgrade"),
    ("nothing", "IPv4", UNIX, IP, "breaks_on_upgrade"),
]

# ---------------------------------------------------------------------------------------------------------------------
# 3. The two hops at which ports break, for a port that listens on 127.0.0.1 alone.

PLAIN, OPT_OUT, LOCALHOST = {}, {"opt_out": True}, {"localhost": True}
SETTINGS = {
    "plain": PLAIN,
    "opt-out": OPT_OUT,
    "LOCALHOST": LOCALHOST,
    "opt-out and LOCALHOST": {**OPT_OUT, **LOCALHOST},
}

HOPS = [
    # istiod, its settings, target_version, verdict
    ("1.9.9", "plain", "1.9", "remediated"),
    ("1.9.9", "plain", "1.10", "breaks_on_upgrade"),
    ("1.9.9", "plain", "1.11", "breaks_on_upgrade"),
    ("1.9.9", "plain", "1.24", "breaks_on_upgrade"),
    ("1.9.9", "plain", None, "breaks_on_upgrade"),
    ("1.9.9", "opt-out", "1.20", "remediated"),
    ("1.9.9", "opt-out", "1.21", "breaks_on_upgrade"),
    ("1.9.9", "opt-out", None, "breaks_on_upgrade"),
    ("1.9.9", "LOCALHOST", "1.21", "breaks_on_upgrade"),
    ("1.9.9", "LOCALHOST", "1.22", "breaks_on_upgrade"),
    ("1.9.9", "LOCALHOST", "1.24", "breaks_on_upgrade"),
    ("1.9.9", "LOCALHOST", None, "breaks_on_upgrade"),
    ("1.10.0", "plain", "1.20", "unreachable"),
    ("1.10.0", "opt-out", "1.20.8", "remediated"),
    ("1.20.8", "plain", "1.21", "unreachable"),
    ("1.20.8", "opt-out", "1.20", "remediated"),
    ("1.20.8", "opt-out", "1.21", "breaks_on_upgrade"),
    ("1.20.8", "opt-out", "1.22", "breaks_on_upgrade"),
    ("1.20.8", "opt-out", None, "breaks_on_upgrade"),
    ("1.20.8", "opt-out and LOCALHOST", "1.21", "breaks_on_upgrade"),
    ("1.20.8", "opt-out and LOCALHOST", "1.22", "breaks_on_upgrade"),
    ("1.21.6", "opt-out", "1.22", "unreachable"),
    ("1.21.6", "LOCALHOST", "1.22", "remediated"),
    ("1.22.0", "plain", "1.24", "unreachable"),
    ("1.22.0", "plain", None, "unreachable"),
    ("1.22.0", "LOCALHOST", "1.24", "remediated"),
    ("1.22.0", "LOCALHOST", None, "remediated"),
    ("unreadable", "plain", "1.24", "unknown"),
    ("unreadable", "plain", None, "unknown"),
]

# ---------------------------------------------------------------------------------------------------------------------
# The page


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines) + "\n"


def as_code(cell):
    return " ".join(f"`{bind}`" for bind in cell.split()) if ":" in cell else cell


def tables():
    """The three tables as the page has them."""
    return [
        markdown(["special about it", *PLANES], [(text, *cells) for text, _pod, _port, _endpoint, cells in DELIVERY]),
        markdown(
            ["binds", "asked at", "today", "after", "verdict"],
            [(as_code(b), a, today, after, f"`{v}`") for b, a, today, after, v in VERDICTS],
        ),
        markdown(
            ["istiod today", "its settings", "`target_version`", "verdict"],
            [(i, s, to or "not given", f"`{v}`") for i, s, to, v in HOPS],
        ),
    ]


if __name__ == "__main__":
    print("\n".join(tables()))
