package cluster

import (
	"fmt"

	"github.com/podskew/podskew/lab/boot"
)

// Roles of the re-executed binary that run one component each; see package components.
const (
	RoleEtcd              = "__etcd"
	RoleAPIServer         = "__kube-apiserver"
	RoleControllerManager = "__kube-controller-manager"
	RoleScheduler         = "__kube-scheduler"
	RoleProxy             = "__kube-proxy"
	RoleKubelet           = "__kubelet"
	RoleDNS               = "__dns"
)

// etcdAddress is reachable only in the network namespace of the control plane.
const etcdAddress = "127.0.0.1:2379"

const etcdURL = "http://" + etcdAddress

// controllers are those that a lab needs: nothing for clouds, volumes, certificates or autoscaling.
const controllers = "clusterrole-aggregation-controller,cronjob-controller,daemonset-controller,deployment-controller," +
	"disruption-controller,endpoints-controller,endpointslice-controller,endpointslice-mirroring-controller," +
	"garbage-collector-controller,job-controller,namespace-controller,node-lifecycle-controller," +
	"pod-garbage-collector-controller,replicaset-controller,root-ca-certificate-publisher-controller," +
	"serviceaccount-controller,statefulset-controller,taint-eviction-controller,ttl-after-finished-controller"

func etcdArgs() []string {
	return []string{RoleEtcd, etcdURL, boot.Base + "/etcd"}
}

func apiServerArgs() []string {
	cert, key := pairFiles("apiserver")
	clientCert, clientKey := pairFiles("apiserver-kubelet-client")
	saKey := pkiDir + "/sa.key"
	return []string{
		RoleAPIServer,
		"--etcd-servers=" + etcdURL,
		"--bind-address=0.0.0.0", "--advertise-address=" + controlPlaneIP, "--secure-port=6443",
		"--service-cluster-ip-range=" + servicesCIDR,
		"--tls-cert-file=" + cert, "--tls-private-key-file=" + key, "--client-ca-file=" + caFile(),
		"--service-account-issuer=https://kubernetes.default.svc." + clusterDomain,
		"--service-account-key-file=" + saKey, "--service-account-signing-key-file=" + saKey,
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--profiling=false", "--anonymous-auth=false",
		"--kubelet-certificate-authority=" + caFile(),
		"--kubelet-client-certificate=" + clientCert, "--kubelet-client-key=" + clientKey,
		"--kubelet-preferred-address-types=InternalIP",
	}
}

func controllerManagerArgs() []string {
	return append([]string{
		RoleControllerManager,
		"--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false",
		"--root-ca-file=" + caFile(), "--service-account-private-key-file=" + pkiDir + "/sa.key",
		"--allocate-node-cidrs=false", "--cluster-cidr=" + podsCIDR,
		// The defaults are for clusters that share an API server; they make scaling down four times slower here.
		"--kube-api-qps=500", "--kube-api-burst=1000", "--concurrent-replicaset-syncs=10",
		"--controllers=" + controllers,
	}, kubeconfigFlags("kube-controller-manager")...)
}

func schedulerArgs() []string {
	return append([]string{
		RoleScheduler, "--leader-elect=false", "--bind-address=127.0.0.1", "--profiling=false",
	}, kubeconfigFlags("kube-scheduler")...)
}

func kubeconfigFlags(user string) []string {
	file := kubeconfigFile(user)
	return []string{"--kubeconfig=" + file, "--authentication-kubeconfig=" + file, "--authorization-kubeconfig=" + file}
}

func dnsArgs() []string {
	return []string{RoleDNS, kubeconfigFile("dns"), clusterDomain, controlPlaneIP + ":53"}
}

// proxyConfig is the configuration file of a node's kube-proxy.
//
// The conntrack limits must be left alone: they are the kernel's, and read-only outside the initial network namespace.
//
// Changes that come close together are programmed together: in nftables mode each time costs every node two calls of nft, and
// the one machine pays for all nodes. Kubernetes' own default of 1 s would have everything wait that waits for kube-proxy.
//
// Health and metrics listen on all addresses, so that the API server's node proxy reaches /proxyMode and /metrics.
func proxyConfig(n Node, mode string) string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: %s
clientConnection: {kubeconfig: %s}
hostnameOverride: %s
clusterCIDR: %s
detectLocalMode: ClusterCIDR
bindAddress: 0.0.0.0
healthzBindAddress: 0.0.0.0:10256
metricsBindAddress: 0.0.0.0:10249
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
iptables: {minSyncPeriod: 250ms}
nftables: {minSyncPeriod: 250ms}
`, mode, kubeconfigFile("kube-proxy"), n.Name, podsCIDR)
}
