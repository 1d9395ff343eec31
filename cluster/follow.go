package cluster

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
)

const (
	relistPause = 200 * time.Millisecond // after an answer that may be better the next time
	relook      = time.Second            // time itself is news: something may have lasted too long by now
)

// feed is a kind of objects that can be listed and watched.
type feed[T metav1.Object] struct {
	what  string
	list  func(context.Context, metav1.ListOptions) (items []T, version string, err error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// follow keeps the objects of a feed current and calls look with all of them, by name: after the first list, at
// every change and at least once a second, until look says done, look fails, or ctx ends. The map is look's to read only.
func follow[T metav1.Object](ctx context.Context, f feed[T], opt metav1.ListOptions, look func(map[string]T) (done bool, err error)) error {
	for {
		done, err := f.once(ctx, opt, look)
		switch {
		case done:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err):
			return fmt.Errorf("watching %s: %w", f.what, err)
		}
		// The watch ended, as all do, or the API server has a hiccup: nothing that a new list would not cure.
		if err := pause(ctx, relistPause); err != nil {
			return err
		}
	}
}

// once lists and then watches until the watch ends. When it is done, err is look's; otherwise the API server's.
func (f feed[T]) once(ctx context.Context, opt metav1.ListOptions, look func(map[string]T) (bool, error)) (done bool, err error) {
	items, version, err := f.list(ctx, opt)
	if err != nil {
		return false, err
	}
	have := make(map[string]T, len(items))
	for _, it := range items {
		have[it.GetName()] = it
	}
	if done, err := look(have); done || err != nil {
		return true, err
	}
	opt.ResourceVersion = version
	w, err := f.watch(ctx, opt)
	if err != nil {
		return false, err
	}
	defer w.Stop()
	return drain(ctx, w, have, look)
}

// drain looks at every change until look is done or the watch ends.
func drain[T metav1.Object](ctx context.Context, w watch.Interface, have map[string]T, look func(map[string]T) (bool, error)) (bool, error) {
	tick := time.NewTicker(relook)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		case e, ok := <-w.ResultChan():
			it, isObject := e.Object.(T)
			if !ok || !isObject {
				return false, nil // ended, or an error such as "too old"
			}
			if e.Type == watch.Deleted {
				delete(have, it.GetName())
			} else {
				have[it.GetName()] = it
			}
		}
		if done, err := look(have); done || err != nil {
			return true, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func podFeed(c kubernetes.Interface, namespace string) feed[*corev1.Pod] {
	api := c.CoreV1().Pods(namespace)
	return feed[*corev1.Pod]{"pods", func(ctx context.Context, o metav1.ListOptions) ([]*corev1.Pod, string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return pointers(l.Items), l.ResourceVersion, nil
	}, api.Watch}
}

func sliceFeed(c kubernetes.Interface, namespace string) feed[*discoveryv1.EndpointSlice] {
	api := c.DiscoveryV1().EndpointSlices(namespace)
	return feed[*discoveryv1.EndpointSlice]{"endpoint slices", func(ctx context.Context, o metav1.ListOptions) ([]*discoveryv1.EndpointSlice, string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return pointers(l.Items), l.ResourceVersion, nil
	}, api.Watch}
}

func deploymentFeed(c kubernetes.Interface, namespace string) feed[*appsv1.Deployment] {
	api := c.AppsV1().Deployments(namespace)
	return feed[*appsv1.Deployment]{"deployments", func(ctx context.Context, o metav1.ListOptions) ([]*appsv1.Deployment, string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return pointers(l.Items), l.ResourceVersion, nil
	}, api.Watch}
}

func namespaceFeed(c kubernetes.Interface) feed[*corev1.Namespace] {
	api := c.CoreV1().Namespaces()
	return feed[*corev1.Namespace]{"namespaces", func(ctx context.Context, o metav1.ListOptions) ([]*corev1.Namespace, string, error) {
		l, err := api.List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return pointers(l.Items), l.ResourceVersion, nil
	}, api.Watch}
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
