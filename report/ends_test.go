package report

import (
	"testing"

	"github.com/podskew/podskew/analyze"
)

// TestEveryClassOfSourceHasWords: a class that reads "not known" is one that is.
func TestEveryClassOfSourceHasWords(t *testing.T) {
	said := map[string]analyze.SourceClass{}
	for _, class := range []analyze.SourceClass{
		analyze.Client, analyze.ClientNode, analyze.ReceivingNode, analyze.PodGateway, analyze.ProxyPod, analyze.ServiceVIP,
		analyze.DockerGateway, analyze.LinkLocal, analyze.Loopback, analyze.UnknownSource,
	} {
		words := classWords(string(class))
		if (words == "not known") != (class == analyze.UnknownSource) || said[words] != "" {
			t.Errorf("%s is %q, as is %q", class, words, said[words])
		}
		said[words] = class
	}
}
