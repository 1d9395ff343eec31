// Package launch starts and ends a lab from the outside: it finds out what the machine allows, keeps the run
// directory, and holds the pipe whose end ends the lab.
package launch

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Mode says with which rights a lab runs.
type Mode string

// The modes. Auto takes the one with the fewest rights that works.
const (
	Auto     Mode = "auto"
	Rootless Mode = "rootless" // a user namespace of an ordinary user
	UserNS   Mode = "userns"   // started by root, but root of a user namespace only
	Root     Mode = "root"     // started by root and root inside, where user namespaces are not to be had
)

// Modes are the values of the option, in the order they are tried.
func Modes() []Mode { return []Mode{Auto, Rootless, UserNS, Root} }

// Ids of a user namespace that root makes. Its users have no rights outside, so the numbers only have to be ones that
// nobody else uses: these are beyond what systemd and the usual /etc/subuid hand out.
const (
	usernsBase  = 0x7061_0000
	usernsCount = 65536
)

// labFlags are the namespaces of a lab.
const labFlags = syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC |
	syscall.CLONE_NEWUTS

// idRange is a range of ids that an ordinary user may map, from /etc/subuid or /etc/subgid.
type idRange struct{ first, count int }

// identity is how a lab's processes appear inside and outside.
type identity struct {
	mode     Mode
	uid, gid int
	subuids  idRange // with subgids: mapped by newuidmap and newgidmap; count 0: only the own id is mapped
	subgids  idRange
	few      bool // root of a user namespace that was there before and that has hardly any users
}

// candidates returns the identities that can be tried for the mode, the best first.
func candidates(mode Mode) ([]identity, error) {
	uid, gid := os.Getuid(), os.Getgid()
	own := identity{mode: Rootless, uid: uid, gid: gid}
	switch {
	case uid == 0 && mode == Auto:
		return []identity{{mode: UserNS}, {mode: Root, few: fewUsers()}}, nil
	case uid == 0 && mode == Rootless:
		return nil, fmt.Errorf("mode %s is for ordinary users; root has the modes %s and %s", mode, UserNS, Root)
	case uid == 0:
		return []identity{{mode: mode, few: mode == Root && fewUsers()}}, nil
	case mode == UserNS || mode == Root:
		return nil, fmt.Errorf("mode %s needs root; without root there is the mode %s", mode, Rootless)
	}
	ranged := own
	if ranged.subuids, ranged.subgids = subordinate("/etc/subuid"), subordinate("/etc/subgid"); ranged.hasRanges() {
		return []identity{ranged, own}, nil
	}
	return []identity{own}, nil
}

// hasRanges reports whether the user namespace has more than one user.
func (i identity) hasRanges() bool { return i.subuids.count > 0 && i.subgids.count > 0 }

// singleUser reports whether every process in the lab is the same user.
func (i identity) singleUser() bool { return i.few || i.mode == Rootless && !i.hasRanges() }

// String is the identity in words.
func (i identity) String() string {
	switch {
	case i.mode == Rootless && i.hasRanges():
		return "rootless, with subordinate ids"
	case i.mode == Rootless:
		return "rootless"
	case i.mode == UserNS:
		return "root of a user namespace"
	default:
		return "root"
	}
}

// attributes returns the process attributes for a command that is to be process 1 of the namespaces.
func (i identity) attributes() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setsid: true, Cloneflags: labFlags}
	switch {
	case i.mode == UserNS:
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: usernsBase, Size: usernsCount}}
		attr.GidMappings = attr.UidMappings
		attr.GidMappingsEnableSetgroups = true
		attr.Credential = &syscall.Credential{Uid: 0, Gid: 0}
	case i.mode == Rootless && i.hasRanges():
		attr.Cloneflags |= syscall.CLONE_NEWUSER
	case i.mode == Rootless:
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: i.uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: i.gid, Size: 1}}
	}
	return attr
}

// mapRanges gives the process's user namespace its subordinate ids; those need the help of two set-uid programs.
func (i identity) mapRanges(ctx context.Context, pid int) error {
	maps := []struct {
		program string
		own     int
		sub     idRange
	}{{"newuidmap", i.uid, i.subuids}, {"newgidmap", i.gid, i.subgids}}
	for _, m := range maps {
		args := []int{pid, 0, m.own, 1, 1, m.sub.first, min(m.sub.count, usernsCount-1)}
		words := make([]string, len(args))
		for n, a := range args {
			words[n] = strconv.Itoa(a)
		}
		if out, err := exec.CommandContext(ctx, m.program, words...).CombinedOutput(); err != nil {
			return fmt.Errorf("running %s: %w: %s", m.program, err, strings.TrimSpace(string(out)))
		}
	}
	return nil
}

// fewUsers reports whether the user namespace that this process is in lacks users that pods usually run as. A user id
// of 0 says nothing about that: it is root's in every user namespace.
func fewUsers() bool {
	data, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && mappedIDs(string(data)) < usernsCount
}

// mappedIDs is how many ids a uid_map has.
func mappedIDs(uidMap string) int {
	total := 0
	for line := range strings.Lines(uidMap) {
		var inside, outside, count int
		if _, err := fmt.Sscan(line, &inside, &outside, &count); err == nil {
			total += count
		}
	}
	return total
}

// subordinate returns the first range of ids that the file gives to the current user, if the programs that can map it
// are there.
func subordinate(file string) idRange {
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if _, err := exec.LookPath(program); err != nil {
			return idRange{}
		}
	}
	f, err := os.Open(file)
	if err != nil {
		return idRange{}
	}
	defer f.Close()
	names := []string{strconv.Itoa(os.Getuid())}
	if u, err := user.Current(); err == nil {
		names = append(names, u.Username)
	}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if r, ok := parseSubordinate(lines.Text(), names); ok {
			return r
		}
	}
	return idRange{}
}

// parseSubordinate reads a line "user:first:count" if it is about one of the names.
func parseSubordinate(line string, names []string) (idRange, bool) {
	fields := strings.Split(strings.TrimSpace(line), ":")
	if len(fields) != 3 || !slices.Contains(names, fields[0]) {
		return idRange{}, false
	}
	first, err1 := strconv.Atoi(fields[1])
	count, err2 := strconv.Atoi(fields[2])
	return idRange{first, count}, err1 == nil && err2 == nil && first > 0 && count > 0
}
