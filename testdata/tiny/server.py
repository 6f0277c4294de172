import http.server
import os
import socketserver

import rows


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/healthz":
            body = '{"commit": "%s"}' % os.environ["BOSMAN_COMMIT"]
        elif self.path == "/rows":
            body = "%d rows" % rows.count()
        else:
            body = open("/app/page.txt").read().strip() + " on " + os.environ["BOSMAN_INSTANCE"]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body.encode())

    def address_string(self):
        return "edge"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


print("tiny begins to serve", flush=True)
Server(os.environ["BOSMAN_SOCKET"], Handler).serve_forever()
