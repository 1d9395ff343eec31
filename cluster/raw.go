package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
)

// maxRaw bounds what is read of an answer that should be small: the metrics of a kube-proxy are some 100 kB.
const maxRaw = 8 << 20

// get reads a path of the API server. It has no client-side rate limit.
func (c *Cluster) get(ctx context.Context, path string) ([]byte, error) {
	resp, err := c.do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(io.LimitReader(resp.Body, maxRaw))
}

// do sends one request to the API server. Statuses of 400 and more come back as errors.
func (c *Cluster) do(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.base.String(), "/")+path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 400 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 16<<10))
	return nil, statusError(resp.StatusCode, method, text)
}

// statusError reads why a request failed: from the API server's Status, from the error sentence of an agent behind
// it, or else from the bare text.
func statusError(code int, method string, body []byte) error {
	var s metav1.Status
	if json.Unmarshal(body, &s) == nil && s.Kind == "Status" && s.Message != "" {
		return &apierrors.StatusError{ErrStatus: s}
	}
	var own struct{ Error string }
	if json.Unmarshal(body, &own) == nil && own.Error != "" {
		return &AnswerError{Code: code, Message: own.Error}
	}
	text := oneLine(string(bytes.ToValidUTF8(body, nil)))
	if text == "" {
		text = strings.TrimSpace(fmt.Sprintf("HTTP status %d %s", code, http.StatusText(code)))
	}
	return apierrors.NewGenericServerResponse(code, method, schema.GroupResource{}, "", text, 0, true)
}

// AnswerError is a refusal that an agent gave itself: the request reached it.
type AnswerError struct {
	Code    int    // HTTP status, 400 or more
	Message string // the agent's sentence
}

// Error is the agent's sentence.
func (e *AnswerError) Error() string { return e.Message }

func gitVersion(body []byte) (string, error) {
	var v version.Info
	if err := json.Unmarshal(body, &v); err != nil || v.GitVersion == "" {
		return "", fmt.Errorf("what answers is not a Kubernetes API server: /version says %.80q", body)
	}
	return v.GitVersion, nil
}
