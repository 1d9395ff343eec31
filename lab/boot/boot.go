// Package boot holds the roles of the lab's binary that must start fast and stay small: process 1 of the lab and of
// each node, the entry of a container, and the bridge into a node's namespaces.
//
// Its init runs the role and exits. Go initialises packages by import path as far as dependencies allow, and this one
// depends on nothing but the standard library and x/sys, so the role runs before the package initialisers of
// Kubernetes do: 10 ms instead of 60 ms per process, and 15 MB less memory. That is why this package alone has an
// init, and why nothing else may be imported here.
package boot

import (
	"fmt"
	"os"
)

// Roles, as the first argument of the re-executed binary. Every role takes what it needs from inherited file
// descriptors, so that nothing of it shows in a process list.
const (
	RolePid1  = "__pid1"  // process 1 of the lab's namespaces
	RoleRemap = "__remap" // waits until its user namespace is mapped, then becomes the role that follows
	RoleNode  = "__node"  // process 1 of one node's namespaces
	RoleEnter = "__enter" // runs a command in a node's namespaces
	RoleRun   = "__run"   // becomes the command that RoleEnter was asked for
	RoleSuper = "__super" // supervises everything in the lab (not an early role)
)

// Self is the path under which a process of the lab starts another one of the same binary.
const Self = "/proc/self/exe"

// Places inside the lab's mount namespace. Base is a tmpfs that the nodes share, RunDir the caller's run directory.
const (
	Base   = "/run/podskew"
	RunDir = Base + "/rundir"
)

func init() {
	if len(os.Args) < 2 {
		return
	}
	if run := role(os.Args[1]); run != nil {
		os.Exit(run(os.Args[2:]))
	}
}

// role returns the early role of that name; nil for every other first argument.
func role(name string) func(args []string) int {
	switch name {
	case RolePid1:
		return pid1Main
	case RoleRemap:
		return remapMain
	case RoleNode:
		return nodeMain
	case RoleEnter:
		return enterMain
	case RoleRun:
		return runMain
	}
	return containerRole(name)
}

// complain writes one line to the log of the process.
func complain(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
