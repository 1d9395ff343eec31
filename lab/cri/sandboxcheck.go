package cri

import (
	"errors"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// errSharedPID is the answer to shareProcessNamespace, which would take a process to hold the namespace.
var errSharedPID = errors.New(
	"shareProcessNamespace is not supported by the lab: every container has a PID namespace of its own")

// checkSandbox refuses what the lab cannot do.
func checkSandbox(config *runtimeapi.PodSandboxConfig) error {
	ns := namespaceOptions(config)
	switch {
	case ns.GetPid() == runtimeapi.NamespaceMode_POD:
		return errSharedPID
	case ns.GetUsernsOptions().GetMode() == runtimeapi.NamespaceMode_POD && ns.GetUsernsOptions() != nil:
		return errors.New("hostUsers: false is not supported by the lab: all pods share the lab's user namespace")
	}
	if !hostNetwork(config) {
		for _, port := range config.GetPortMappings() {
			if port.GetHostPort() != 0 {
				return fmt.Errorf("hostPort %d is not supported by the lab: use a Service of type NodePort, or hostNetwork",
					port.GetHostPort())
			}
		}
	}
	return checkSysctls(config.GetLinux().GetSysctls(), hostNetwork(config), hostIPC(config))
}

func namespaceOptions(config *runtimeapi.PodSandboxConfig) *runtimeapi.NamespaceOption {
	return config.GetLinux().GetSecurityContext().GetNamespaceOptions()
}

func hostNetwork(config *runtimeapi.PodSandboxConfig) bool {
	return namespaceOptions(config).GetNetwork() == runtimeapi.NamespaceMode_NODE
}

func hostIPC(config *runtimeapi.PodSandboxConfig) bool {
	return namespaceOptions(config).GetIpc() == runtimeapi.NamespaceMode_NODE
}
