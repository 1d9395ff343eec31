package cluster

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"
)

// A try to create the Service of the cluster DNS that was never answered may have created it, or have only taken its address.
func TestDNSServiceAfterATryThatWasNotAnswered(t *testing.T) {
	address := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: dnsServiceIP}}
	service := dnsService()
	service.Namespace = metav1.NamespaceSystem
	for _, c := range []struct {
		name   string
		before []runtime.Object
		tries  int // until it is there
	}{
		{"nothing was done", nil, 1},
		{"the Service was created", []runtime.Object{service, address}, 1},
		{"only the address was taken", []runtime.Object{address}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := fake.NewClientset(c.before...)
			// The API server's order: first the address, then the Service.
			client.PrependReactor("create", "services", func(k8stesting.Action) (bool, runtime.Object, error) {
				if _, err := client.Tracker().Get(networkingv1.SchemeGroupVersion.WithResource("ipaddresses"), "", dnsServiceIP); apierrors.IsNotFound(err) {
					return false, nil, nil
				}
				return true, nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), dnsName, nil)
			})
			s := &supervisor{client: client}
			for try := 1; ; try++ {
				err := s.createDNSService(t.Context())
				if err == nil {
					if try != c.tries {
						t.Errorf("it took %d tries, want %d", try, c.tries)
					}
					break
				}
				if try == c.tries {
					t.Fatalf("try %d: %v", try, err)
				}
			}
			if _, err := client.CoreV1().Services(metav1.NamespaceSystem).Get(t.Context(), dnsName, metav1.GetOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
}
