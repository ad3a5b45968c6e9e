# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to a lab, and which tools are put through it. The order is the order of a bench."""
from tests.bench.run import Scenario
from tests.bench.settings import Settings

ALL = ("wire", "ours", "ours-http", "udpcast", "uftp", "bittorrent", "nginx")
# Where every PC also forwards, or unpacks more than its port brings, 32 of them need more than the two cores that emulate
# them: such scenarios are of the lab's smallest size, or they would measure the machine.


def table(settings: Settings) -> list[Scenario]:
    """Every scenario of these settings; BENCH_ONLY is applied by `chosen`."""
    most = settings.n[-1]
    least = settings.n[0]
    kill = min(3, most // 2)
    tools = ("wire", "ours", "ours-chain", "tcp-chain", "udpcast", "uftp", "bittorrent", "nginx")
    few = [Scenario(f"clean-{n}", n, tools, what=f"{n} receivers, nothing goes wrong") for n in settings.n[:-1]]
    return [
        Scenario(f"clean-{most}", most, ALL + (("ours-chain",) if most == least else ()),
                 what=f"{most} receivers, nothing goes wrong"),
        Scenario("loss-0.1", most, ("ours", "udpcast", "uftp"), loss=1, what="each loses one frame in 1000"),
        Scenario("loss-1", most, ("ours", "udpcast", "udpcast-fec", "uftp"), loss=10,
                 what="each loses one frame in 100"),
        Scenario("slow-port", most, ("ours", "udpcast", "uftp"), slow=1, what="one port at a quarter of the rate"),
        Scenario("slow-port-large", least, ("ours",), slow=1, image="large",
                 what="the same with twice the image: the switch's two seconds weigh half"),
        Scenario("join", most, ("ours", "bittorrent"), join=(0.6, 0.3), what="two join, at 30 and at 60 % of the time"),
        Scenario("kill", most, ("ours", "udpcast"), kill=kill,
                 what=f"{kill} are killed at half time, one of them restarted"),
        Scenario("no-multicast", least, ("ours", "tcp-chain", "bittorrent"), multicast=False,
                 what="the switch drops multicast"),
        Scenario("chain", most, ("ours-chain", "tcp-chain"),
                 what=f"{most} receivers in a chain: what does the machine carry?"),
        Scenario("disk", least, ("ours", "ours-9", "udpcast-zstd"), image="disk", what="a real disk, which compresses"),
        Scenario("sender", 1, ("wire", "ours", "udpcast", "uftp"), gigabit=True, image="huge",
                 what="1 Gbit/s, and a processor for the server alone: what the sender costs"),
        *few,
        # These rows count bytes, and the same revision costs the same bytes each time.
        *(Scenario(f"revision-{percent}", 1, ("ours", "casync", "zsync", "rsync"), image=f"revision-{percent}",
                   what=f"a revision that differs by {percent} %", once=True) for percent in (1, 10)),
        # A run takes eight minutes, and compares what it measured itself within them.
        Scenario("first-vm", 2, ("ours",), image="vm", once=True, what="the first VM ready, lazy against full copy"),
    ]


def chosen(settings: Settings) -> list[Scenario]:
    """Those that BENCH_ONLY names, and of them the tools it names; a quick bench leaves out what takes long."""
    all_ones = table(settings)
    tools = {tool for scenario in all_ones for tool in scenario.tools}
    names = {scenario.name for scenario in all_ones}
    unknown = [word for word in settings.only if word not in tools and not any(n == word or n.startswith(word + "-") for n in names)]
    if unknown:
        raise SystemExit(f"BENCH_ONLY: {', '.join(unknown)}: neither a scenario ({', '.join(sorted(names))})"
                         f" nor a tool ({', '.join(sorted(tools))})")
    only_tools = [word for word in settings.only if word in tools]
    only_names = [word for word in settings.only if word not in tools]
    result = []
    for scenario in all_ones:
        if only_names and not any(scenario.name == w or scenario.name.startswith(w + "-") for w in only_names):
            continue
        if settings.quick and not only_names and scenario.name in ("first-vm", "revision-10", "disk", "loss-0.1"):
            continue
        kept = tuple(tool for tool in scenario.tools if not only_tools or tool in only_tools)
        if kept:
            result.append(Scenario(**{**scenario.__dict__, "tools": kept}))
    return result
