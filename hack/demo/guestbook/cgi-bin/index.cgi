#!/bin/sh
# A guestbook: writes through the redis master, reads from a replica. Runs under busybox httpd.
write() { timeout 5 redis-cli -h "${REDIS_WRITE:-redis-master}" "$@"; }
query() { timeout 5 redis-cli -h "${REDIS_READ:-redis-slave}" "$@"; }

escape() { sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g; s/"/\&quot;/g'; }

if [ "$REQUEST_METHOD" = POST ]; then
  size=${CONTENT_LENGTH:-0}
  [ "$size" -le 2000 ] 2>/dev/null || size=2000
  body=$(head -c "$size")
  message=$(httpd -d "${body#message=}" | tr -d '\000-\037' | head -c 300)
  if [ -n "$message" ]; then
    if ! printf %s "$message" | write -x LPUSH guestbook >/dev/null 2>&1; then
      printf 'Status: 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\nthe redis master does not answer\n'
      exit 0
    fi
  fi
  printf 'Status: 303 See Other\r\nLocation: /\r\n\r\n'
  exit 0
fi

entries=$(query --raw LRANGE guestbook 0 49 2>&1) || {
  printf 'Status: 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\nno redis replica answers\n'
  exit 0
}
printf 'Content-Type: text/html; charset=utf-8\r\nCache-Control: no-store\r\n\r\n'
cat <<HTML
<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Guestbook</title>
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}
input{font:inherit;padding:.4rem;width:70%}button{font:inherit;padding:.4rem 1rem}small{color:#667}</style>
<h1>Guestbook</h1>
<form method="post" action="/cgi-bin/index.cgi"><input name="message" maxlength="200" placeholder="Say something" autofocus> <button>Post</button></form>
<ul>
$(printf '%s\n' "$entries" | escape | sed '/^$/d; s/.*/<li>&/')
</ul>
<small>served by $(hostname)</small>
HTML
