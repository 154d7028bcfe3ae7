package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const bridgeNginxConf = `
load_module /usr/lib/nginx/modules/ngx_mail_module.so;
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
user nobody nogroup;
worker_processes 2;
worker_rlimit_nofile 20000;
pid DIR/pid;
error_log DIR/log error;
events { worker_connections 8000; }
mail {
  auth_http AUTH;
  imap_capabilities IMAP4rev1 IDLE LITERAL+;
  imap_auth plain login;
  server {
    listen 127.0.0.1:SECURE ssl;
    protocol imap;
    ssl_certificate DIR/cert.pem;
    ssl_certificate_key DIR/key.pem;
  }
}
stream {
  server {
    listen 127.0.0.1:CLEAR;
    proxy_pass BACKEND;
    proxy_ssl on;
    proxy_timeout 30m;
  }
}
`

// bridgeNginx is nginx's mail proxy. It asks over HTTP who may log in and where to. It
// speaks to servers in the clear only, so its own stream proxy adds the TLS that
// Microsoft asks for, in the same processes.
func (b *bench) bridgeNginx(ctx context.Context, dir string, box *bridgeMailbox) (gateway, error) {
	addr, clear := freeAddress(), freeAddress()
	cert, key, err := selfSigned()
	if err != nil {
		return gateway{}, err
	}
	auth, err := nginxLogins(clear)
	if err != nil {
		return gateway{}, err
	}
	conf := strings.NewReplacer("DIR", dir, "SECURE", portOf(addr), "AUTH", auth.Addr, "CLEAR", portOf(clear), "BACKEND", box.tls).Replace(bridgeNginxConf)
	for name, text := range map[string][]byte{"cert.pem": cert, "key.pem": key, "nginx.conf": []byte(conf)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return gateway{}, err
		}
	}
	g, err := startGateway(ctx, addr, exec.CommandContext(ctx, "nginx", "-c", filepath.Join(dir, "nginx.conf"))) //nolint:gosec // our own file
	g.name = "nginx"
	if stop := g.stop; stop != nil {
		g.stop = func() { stop(); _ = auth.Close() }
	}
	return g, err
}

// nginxLogins lets everybody through to one server.
func nginxLogins(backend string) (*http.Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // ends with the benchmark
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(backend)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Addr: l.Addr().String(), ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Auth-Status", "OK")
		w.Header().Set("Auth-Server", host)
		w.Header().Set("Auth-Port", port)
		w.Header().Set("Auth-User", bridgeUser)
		w.Header().Set("Auth-Pass", fetchPassword)
	})}
	go func() { _ = srv.Serve(l) }() // until it is closed
	return srv, nil
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // our own address
	return port
}

// untilOpen waits for a listener.
func untilOpen(ctx context.Context, addr string) error {
	for end := time.Now().Add(20 * time.Second); ; {
		if c, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			return c.Close()
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil || time.Now().After(end) {
			return fmt.Errorf("nothing answers at %s", addr)
		}
	}
}
