package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/podskew/podskew/lab/boot"
	"github.com/podskew/podskew/lab/cluster"
)

// RoleProbe is the role of the re-executed binary that tries out a lab's namespaces.
const RoleProbe = "__probe"

// fdReport is where it writes its findings.
const fdReport = 4

// Probe is the role. It is alone in namespaces that nothing else uses and that end with it. args: the proxy mode.
func Probe(args []string) int {
	if len(args) != 1 {
		return 2
	}
	findings := []Finding{
		tried("mounts of its own", boot.TryMounts(), mountRemedy),
		tried("virtual network links", tryLinks(), linkRemedy),
		tried("address translation with "+args[0], tryNAT(args[0]), natRemedy(args[0])),
	}
	if err := json.NewEncoder(os.NewFile(fdReport, "report")).Encode(findings); err != nil {
		return 1
	}
	return 0
}

// tried is the finding for something that was tried out.
func tried(what string, err error, remedy func(error) string) Finding {
	f := Finding{What: what, Required: true}
	if err != nil {
		f.Problem, f.Remedy = err.Error(), remedy(err)
	}
	return f
}

func mountRemedy(err error) string {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return "in a container, run it with --privileged, because parts of its /proc are hidden; elsewhere AppArmor or SELinux " +
			"forbids it: run this with sudo"
	}
	return "the kernel lacks a file system that a lab needs"
}

// tryLinks makes the kinds of links that a lab is made of.
func tryLinks() error {
	bridge := netlink.NewLinkAttrs()
	bridge.Name = "lan"
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: bridge}); err != nil {
		return fmt.Errorf("a bridge: %w", err)
	}
	veth := netlink.NewLinkAttrs()
	veth.Name = "one"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: veth, PeerName: "two"}); err != nil {
		return fmt.Errorf("a veth pair: %w", err)
	}
	return nil
}

func linkRemedy(err error) string {
	if errors.Is(err, unix.EPERM) {
		return "run this with sudo; in a container, run it with --privileged"
	}
	return "load the kernel's modules with: sudo modprobe -a bridge veth"
}

// tryNAT loads rules of every kind that kube-proxy uses.
func tryNAT(proxyMode string) error {
	argv, rules := []string{"nft", "-f", "-"}, nftRules
	if proxyMode == cluster.IPTables {
		argv, rules = []string{"iptables-restore", "-w", "5"}, iptablesRules
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", argv[0], err, firstLine(string(out)))
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

func natRemedy(proxyMode string) func(error) string {
	return func(error) string {
		if proxyMode == cluster.IPTables {
			return "load the kernel's modules with: sudo modprobe -a ip_tables iptable_nat xt_comment xt_conntrack xt_statistic " +
				"xt_recent xt_addrtype xt_mark xt_MASQUERADE; or try --proxy-mode nftables"
		}
		return "load the kernel's modules with: sudo modprobe -a nf_tables nft_chain_nat nft_ct nft_masq nft_numgen nft_fib_inet " +
			"nft_reject_inet; or try --proxy-mode iptables"
	}
}

const nftRules = `table ip trial {
	set held { type ipv4_addr; flags dynamic,timeout; timeout 1m; }
	chain one { meta l4proto tcp dnat to 10.0.0.1:80; }
	chain two { update @held { ip saddr }; meta l4proto tcp dnat to 10.0.0.2:80; }
	chain spread { numgen random mod 2 vmap { 0 : goto one, 1 : goto two }; }
	chain services {
		type nat hook prerouting priority -100;
		ip daddr 10.0.0.3 tcp dport 80 goto spread
		fib daddr type local tcp dport 30000 goto spread
	}
	chain source { type nat hook postrouting priority 100; meta mark & 0x4000 != 0 masquerade fully-random; }
	chain refuse { type filter hook input priority 0; ct state new ip daddr 10.0.0.4 reject; }
}
`

const iptablesRules = `*nat
:TRIAL - [0:0]
:ONE - [0:0]
-A PREROUTING -m comment --comment trial -m addrtype --dst-type LOCAL -j TRIAL
-A TRIAL -m recent --name ONE --rcheck --seconds 60 --reap -j ONE
-A TRIAL -m statistic --mode random --probability 0.5 -j ONE
-A ONE -p tcp -m recent --name ONE --set -m tcp -j DNAT --to-destination 10.0.0.1:80
-A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
-A INPUT -m conntrack --ctstate NEW -d 10.0.0.4/32 -j REJECT
COMMIT
`
