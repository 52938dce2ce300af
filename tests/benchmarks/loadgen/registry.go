package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	manifestType = "application/vnd.oci.image.manifest.v1+json"
	configType   = "application/vnd.oci.image.config.v1+json"
	layerType    = "application/vnd.oci.image.layer.v1.tar"
	timeout      = 10 * time.Minute
	connections  = 1024
)

// Registry is one registry over HTTP. With a user it fetches a bearer token for each repository, once, as clients do.
type Registry struct {
	base, user, secret, service string
	client                      *http.Client
	mutex                       sync.Mutex
	tokens                      map[string]string
}

// registryFlags declares the flags that say which registry and how to sign in.
func registryFlags(flags *flag.FlagSet) *Registry {
	registry := &Registry{tokens: map[string]string{}}
	flags.StringVar(&registry.base, "url", "", "the registry, http://HOST:PORT")
	flags.StringVar(&registry.user, "user", "", "who signs in; empty: the registry asks nobody")
	flags.StringVar(&registry.secret, "secret", "", "password of the user")
	flags.StringVar(&registry.service, "service", "harbor-registry", "service that tokens are for")
	transport := &http.Transport{
		MaxIdleConns: connections, MaxIdleConnsPerHost: connections, DisableCompression: true,
		ReadBufferSize: 1 << 18, WriteBufferSize: 1 << 18,
	}
	registry.client = &http.Client{Transport: transport, Timeout: timeout}
	return registry
}

// ConnectFrom has the connections come from so many loopback addresses in turn; 0: from one.
func (r *Registry) ConnectFrom(addresses int) {
	if addresses == 0 {
		return
	}
	var opened atomic.Uint32
	r.client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, host string) (net.Conn, error) {
		number := int(opened.Add(1)) % addresses
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(number/250), byte(number%250+1))}}
		return dialer.DialContext(ctx, network, host)
	}
}

// Body makes a request's body anew each time that it is read.
type Body func() io.Reader

// Push stores a blob: asked for, begun, sent, finished, as docker does it.
func (r *Registry) Push(repository string, blob Blob) error {
	isThere, err := r.has(repository, blob.digest)
	if err != nil || isThere {
		return err
	}
	begun, err := r.do("POST", repository, "/v2/"+repository+"/blobs/uploads/", nil, 0, nil, http.StatusAccepted)
	if err != nil {
		return err
	}
	headers := map[string]string{"Content-Type": "application/octet-stream"}
	sent, err := r.do("PATCH", repository, begun.Get("Location"), blob.body, blob.size, headers, http.StatusAccepted)
	if err != nil {
		return err
	}
	_, err = r.do("PUT", repository, withDigest(sent.Get("Location"), blob.digest), nil, 0, nil, http.StatusCreated)
	return err
}

// PutManifest stores a manifest under a tag or digest; its digest as the registry says it.
func (r *Registry) PutManifest(repository, reference string, content []byte) (string, error) {
	path := "/v2/" + repository + "/manifests/" + reference
	body := func() io.Reader { return bytes.NewReader(content) }
	headers := map[string]string{"Content-Type": manifestType}
	answer, err := r.do("PUT", repository, path, body, int64(len(content)), headers, http.StatusCreated)
	if err != nil {
		return "", err
	}
	return answer.Get("Docker-Content-Digest"), nil
}

// Get reads a path to its end into `sink`; how many bytes there were.
func (r *Registry) Get(repository, path string, sink io.Writer) (int64, error) {
	response, err := r.send("GET", repository, path, nil, 0, map[string]string{"Accept": manifestType})
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, refused(response, path)
	}
	size, err := copyAll(sink, response.Body)
	if err == nil && response.ContentLength >= 0 && size != response.ContentLength {
		err = fmt.Errorf("GET %s: %d bytes of %d", path, size, response.ContentLength)
	}
	return size, err
}

var buffers = sync.Pool{New: func() any { return make([]byte, 1<<18) }}

// copyAll copies by large pieces: what io.Copy does into io.Discard costs more system calls.
func copyAll(sink io.Writer, source io.Reader) (int64, error) {
	buffer := buffers.Get().([]byte)
	defer buffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{sink}, source, buffer)
}

func (r *Registry) has(repository, digest string) (bool, error) {
	path := "/v2/" + repository + "/blobs/" + digest
	response, err := r.send("HEAD", repository, path, nil, 0, nil)
	if err != nil {
		return false, err
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK && response.StatusCode != http.StatusNotFound {
		return false, refused(response, path)
	}
	return response.StatusCode == http.StatusOK, nil
}

// do sends a request whose answer has nothing to read but its headers.
func (r *Registry) do(
	method, repository, target string, body Body, size int64, headers map[string]string, wanted int,
) (http.Header, error) {
	response, err := r.send(method, repository, target, body, size, headers)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != wanted {
		return nil, refused(response, target)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return response.Header, err
}

func (r *Registry) send(
	method, repository, target string, body Body, size int64, headers map[string]string,
) (*http.Response, error) {
	if strings.HasPrefix(target, "/") {
		target = r.base + target
	}
	var reader io.Reader
	if body != nil {
		reader = body()
	}
	request, err := http.NewRequest(method, target, reader)
	if err != nil {
		return nil, err
	}
	request.ContentLength = size
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	if err := r.authorize(request, repository); err != nil {
		return nil, err
	}
	return r.client.Do(request)
}

func (r *Registry) authorize(request *http.Request, repository string) error {
	if r.user == "" {
		return nil
	}
	r.mutex.Lock()
	token := r.tokens[repository]
	r.mutex.Unlock()
	if token == "" {
		var err error
		if token, err = r.fetchToken(repository); err != nil {
			return err
		}
		r.mutex.Lock()
		r.tokens[repository] = token
		r.mutex.Unlock()
	}
	request.Header.Set("Authorization", "Bearer "+token)
	return nil
}

func (r *Registry) fetchToken(repository string) (string, error) {
	query := url.Values{"service": {r.service}, "scope": {"repository:" + repository + ":pull,push"}}
	request, err := http.NewRequest("GET", r.base+"/service/token?"+query.Encode(), nil)
	if err != nil {
		return "", err
	}
	request.SetBasicAuth(r.user, r.secret)
	response, err := r.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return "", refused(response, "/service/token")
	}
	var answer struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return "", err
	}
	if answer.Token == "" {
		return "", errors.New("the answer has no token")
	}
	return answer.Token, nil
}

func refused(response *http.Response, target string) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 300))
	return fmt.Errorf("%s %s: %s %s", response.Request.Method, target, response.Status, text)
}

func withDigest(location, digest string) string {
	if strings.Contains(location, "?") {
		return location + "&digest=" + digest
	}
	return location + "?digest=" + digest
}
