package cluster

import (
	"context"
	"fmt"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Token asks for a token of a ServiceAccount that is bound to nothing, and says when it ends; the API server may give it
// another lifetime than is asked for, ten minutes at least. Who may do so is a matter of RBAC: create on
// serviceaccounts/token. Errors are those of the API server; see Forbidden.
func (c *Cluster) Token(ctx context.Context, namespace, account, audience string, lifetime time.Duration) (token string, end time.Time, err error) {
	seconds := int64(lifetime / time.Second)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: []string{audience}, ExpirationSeconds: &seconds}}
	answer, err := c.Client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", time.Time{}, fmt.Errorf("token of ServiceAccount %s/%s: %w", namespace, account, err)
	}
	return answer.Status.Token, answer.Status.ExpirationTimestamp.Time, nil
}
