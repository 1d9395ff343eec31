package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/podskew/podskew/kind"
	"github.com/podskew/podskew/scenarios"
)

// matrixKeys are what --matrix can vary.
func matrixKeys() []string { return []string{"proxyMode"} }

// matrix collects --matrix flags: KEY=VALUE,VALUE... It is a pflag.Value.
type matrix struct{ proxyModes []string }

func (m *matrix) String() string { return "" }
func (m *matrix) Type() string   { return "KEY=VALUE,..." }

// Set parses one flag.
func (m *matrix) Set(s string) error {
	key, list, found := strings.Cut(s, "=")
	switch {
	case !slices.Contains(matrixKeys(), key):
		return fmt.Errorf("unknown key %q: known is %s", key, strings.Join(matrixKeys(), ", "))
	case !found || list == "":
		return fmt.Errorf("%s without values: write %s=%s", key, key, strings.Join(kind.ProxyModes()[:2], ","))
	case len(m.proxyModes) > 0:
		return fmt.Errorf("%s is given twice: write all its values in one", key)
	}
	for mode := range strings.SplitSeq(list, ",") {
		switch {
		case !slices.Contains(kind.ProxyModes(), mode):
			return fmt.Errorf("proxyMode %q: known are %s", mode, strings.Join(kind.ProxyModes(), ", "))
		case slices.Contains(m.proxyModes, mode):
			return fmt.Errorf("proxyMode %s is named twice", mode)
		}
		m.proxyModes = append(m.proxyModes, mode)
	}
	return nil
}

// check refuses a matrix that does not go with the other flags.
func (m *matrix) check(o clusterOptions) error {
	switch {
	case len(m.proxyModes) == 0:
		return nil
	case o.proxyMode != "":
		return usageError("--matrix proxyMode and --proxy-mode exclude each other: keep one")
	case o.cluster == "current":
		return usageError("--matrix proxyMode is for clusters podskew makes; with --cluster current kube-proxy has the mode it has")
	case o.keep && len(m.proxyModes) > 1:
		return usageError("--keep-cluster keeps one cluster, and --matrix makes one for each of %s", strings.Join(m.proxyModes, ", "))
	}
	for _, mode := range m.proxyModes {
		o.proxyMode = mode
		if err := o.validate(); err != nil {
			return err
		}
	}
	return nil
}

// modes are the kube-proxy modes of a series, one cluster each; "" is the cluster's own. Without a word about it, the mode
// is one that all scenarios can run in.
func (o *runOptions) modes(list []*scenarios.Scenario) []string {
	if len(o.matrix.proxyModes) > 0 {
		return o.matrix.proxyModes
	}
	if o.proxyMode == "" && o.cluster != "current" && !runInMode(list, o.mode()) {
		for _, mode := range kind.ProxyModes() {
			one := o.clusterOptions
			one.proxyMode = mode
			if one.validate() == nil && runInMode(list, mode) {
				return []string{mode}
			}
		}
	}
	return []string{o.proxyMode}
}

func runInMode(list []*scenarios.Scenario, mode string) bool {
	return !slices.ContainsFunc(list, func(s *scenarios.Scenario) bool {
		r := s.Spec.Requires
		return r != nil && len(r.ProxyModes) > 0 && !slices.Contains(r.ProxyModes, mode)
	})
}

// completeMatrix offers keys, then the values that are not named yet.
func completeMatrix(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	const noFiles = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	key, list, found := strings.Cut(word, "=")
	if !found || !slices.Contains(matrixKeys(), key) {
		var keys []string
		for _, k := range matrixKeys() {
			keys = append(keys, k+"=")
		}
		return keys, noFiles
	}
	named := strings.Split(list, ",")
	named = named[:len(named)-1] // the last one is being typed
	begin := key + "="
	if len(named) > 0 {
		begin += strings.Join(named, ",") + ","
	}
	var out []string
	for _, mode := range kind.ProxyModes() {
		if !slices.Contains(named, mode) {
			out = append(out, begin+mode)
		}
	}
	return out, noFiles
}
