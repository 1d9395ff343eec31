package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/tools/clientcmd"
)

func TestCertificates(t *testing.T) {
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	tests := []struct {
		name   string
		id     identity
		dial   string // a server's name, or empty
		server bool
	}{
		{"a client", identity{user: "system:kube-proxy"}, "", false},
		{"a member of a group", identity{user: "admin", groups: []string{adminGroup}}, "", false},
		{"a server by address", identity{user: "kubelet", ips: []string{"10.77.0.11"}}, "10.77.0.11", true},
		{"a server by name", identity{user: "apiserver", names: []string{"kubernetes"}}, "kubernetes", true},
	}
	serials := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pair, err := ca.issue(tt.id)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tls.X509KeyPair(pair.cert, pair.key); err != nil {
				t.Errorf("key and certificate: %v", err)
			}
			block, _ := pem.Decode(pair.cert)
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			if serials[cert.SerialNumber.String()] {
				t.Error("a serial number was used twice")
			}
			serials[cert.SerialNumber.String()] = true
			if cert.Subject.CommonName != tt.id.user || len(cert.Subject.Organization) != len(tt.id.groups) {
				t.Errorf("subject %s", cert.Subject)
			}
			usage := x509.ExtKeyUsageServerAuth
			_, err = cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: tt.dial, KeyUsages: []x509.ExtKeyUsage{usage}})
			if (err == nil) != tt.server {
				t.Errorf("as a server: %v", err)
			}
			_, err = cert.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
			if err != nil {
				t.Errorf("as a client: %v", err)
			}
		})
	}
}

func TestKubeconfig(t *testing.T) {
	ca, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kubeconfig")
	c := &credentials{ca: ca}
	if err := c.writeKubeconfig(path, "https://127.0.0.1:4711", identity{user: "admin"}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v: it holds a key", info.Mode(), err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	if config.Host != "https://127.0.0.1:4711" || len(config.CAData) == 0 || len(config.KeyData) == 0 {
		t.Errorf("got %v", config)
	}
}

// TestEveryProcessHasItsCredentials compares the files that are made with those that the components are given.
func TestEveryProcessHasItsCredentials(t *testing.T) {
	nodes := Nodes(2)
	users, pairs := kubeconfigUsers(nodes), servingPairs(nodes)
	for _, name := range []string{"admin", "kube-controller-manager", "kube-scheduler", "kube-proxy", "dns", "kubelet-worker2", "kubelet-external"} {
		if _, ok := users[name]; !ok {
			t.Errorf("no kubeconfig %s", name)
		}
	}
	for _, name := range []string{"apiserver", "apiserver-kubelet-client", "serving-worker", "serving-external"} {
		if _, ok := pairs[name]; !ok {
			t.Errorf("no key pair %s", name)
		}
	}
}
