curl -N http://127.0.0.1:8000/streaming -H "content-type: application/json" \
     -H "accept: text/plain" -d '{"query":"Hello?"}'
