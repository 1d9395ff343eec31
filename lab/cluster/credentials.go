package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/podskew/podskew/lab/boot"
)

// pkiDir is a directory of the lab's own tmpfs: no key but the caller's reaches a disk.
const pkiDir = boot.Base + "/pki"

// insideServer is the API server's address for everything in the lab.
const insideServer = "https://" + controlPlaneIP + ":6443"

// adminGroup may do everything.
const adminGroup = "system:masters"

// credentials are the certificates and kubeconfigs of one lab, written to pkiDir.
type credentials struct {
	ca *authority
}

// kubeconfigUsers are the holders of a kubeconfig in pkiDir, by file name.
func kubeconfigUsers(nodes []Node) map[string]identity {
	users := map[string]identity{
		"admin":                   {user: "kubernetes-admin", groups: []string{adminGroup}},
		"kube-controller-manager": {user: "system:kube-controller-manager", groups: []string{adminGroup}},
		"kube-scheduler":          {user: "system:kube-scheduler"},
		"kube-proxy":              {user: "system:kube-proxy"},
		"dns":                     {user: dnsUser},
	}
	for _, n := range nodes {
		users["kubelet-"+n.Name] = identity{user: "system:node:" + n.Name, groups: []string{"system:nodes"}}
	}
	return users
}

// servingPairs are the key pairs in pkiDir that are used as files, by file name.
func servingPairs(nodes []Node) map[string]identity {
	pairs := map[string]identity{
		"apiserver": {
			user: "kube-apiserver", ips: []string{controlPlaneIP, "127.0.0.1", kubernetesIP},
			names: []string{
				"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc." + clusterDomain,
			},
		},
		"apiserver-kubelet-client": {user: "kube-apiserver-kubelet-client", groups: []string{adminGroup}},
	}
	for _, n := range nodes {
		pairs["serving-"+n.Name] = identity{
			user: "system:node:" + n.Name, groups: []string{"system:nodes"},
			ips: []string{n.Address.String()}, names: []string{n.Name},
		}
	}
	return pairs
}

// newCredentials makes and writes everything of pkiDir.
func newCredentials(nodes []Node) (*credentials, error) {
	if err := os.MkdirAll(pkiDir, 0o700); err != nil {
		return nil, err
	}
	ca, err := newAuthority()
	if err != nil {
		return nil, fmt.Errorf("making the certificate authority: %w", err)
	}
	c := &credentials{ca: ca}
	if err := os.WriteFile(caFile(), ca.pem, 0o600); err != nil {
		return nil, err
	}
	for name, id := range servingPairs(nodes) {
		pair, err := ca.issue(id)
		if err != nil {
			return nil, err
		}
		if err := pair.write(pkiDir, name); err != nil {
			return nil, err
		}
	}
	for name, id := range kubeconfigUsers(nodes) {
		if err := c.writeKubeconfig(kubeconfigFile(name), insideServer, id); err != nil {
			return nil, err
		}
	}
	return c, writeServiceAccountKey()
}

func writeServiceAccountKey() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	encoded, err := encodeKey(key)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(pkiDir, "sa.key"), encoded, 0o600)
}

// writeKubeconfig issues a certificate to the identity and writes a self-contained kubeconfig.
func (c *credentials) writeKubeconfig(path, server string, id identity) error {
	pair, err := c.ca.issue(id)
	if err != nil {
		return err
	}
	const name = "podskew-lab"
	config := clientcmdapi.NewConfig()
	config.Clusters[name] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: c.ca.pem}
	config.AuthInfos[id.user] = &clientcmdapi.AuthInfo{ClientCertificateData: pair.cert, ClientKeyData: pair.key}
	config.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: id.user}
	config.CurrentContext = name
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("encoding the kubeconfig of %q: %w", id.user, err)
	}
	return os.WriteFile(path, data, 0o600)
}

func kubeconfigFile(name string) string { return filepath.Join(pkiDir, name+".kubeconfig") }

func pairFiles(name string) (cert, key string) {
	return filepath.Join(pkiDir, name+".crt"), filepath.Join(pkiDir, name+".key")
}

func caFile() string { return filepath.Join(pkiDir, "ca.crt") }
