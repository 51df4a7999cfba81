/* The upstream of the benchmarks: an MCP server that costs next to nothing, so that it is never the bottleneck.
 *
 *     cc -O2 -o raw_upstream raw_upstream.c && ./raw_upstream PORT TOOLS
 *
 * One thread, epoll, keep-alive, no parsing beyond finding the body's end, "method" and "id". It answers both eras:
 * server/discover, initialize, tools/list (TOOLS tools called tool0, tool1, ...) and tools/call. Loopback only.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM 65536
#define MOST_FDS 4096

struct connection { size_t used; char bytes[ROOM + 1]; };

static struct connection *connections[MOST_FDS];
static char *tools;

static const char *CALL = "{\"content\":[{\"type\":\"text\",\"text\":\"the quick brown fox\"}],\"isError\":false%s}";
static const char *MODERN = ",\"resultType\":\"complete\"";

static void make_tools(int count) {
    size_t room = (size_t)count * 160 + 64;
    tools = malloc(room);
    if (!tools) exit(1);
    char *at = tools;
    at += sprintf(at, "[");
    for (int i = 0; i < count; i++)
        at += sprintf(at, "%s{\"name\":\"tool%d\",\"description\":\"Says what it always says\",\"inputSchema\":{\"type\":\"object\"}}", i ? "," : "", i);
    sprintf(at, "]");
}

static void reply(int fd, const char *headers, const char *id, int id_length, const char *result) {
    size_t length = strlen(result) + (size_t)id_length + 64;
    char *out = malloc(length + 512);
    if (!out) exit(1);
    char *body = out + 512;
    int body_length = sprintf(body, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"result\":%s}", id_length, id, result);
    char head[512];
    int head_length = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n", headers, body_length);
    memcpy(body - head_length, head, (size_t)head_length);
    const char *from = body - head_length;
    size_t left = (size_t)(head_length + body_length);
    while (left) {
        ssize_t sent = send(fd, from, left, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
        if (sent <= 0) break;
        from += sent;
        left -= (size_t)sent;
    }
    free(out);
}

static void answer(int fd, const char *head, const char *body, const char *end) {
    const char *method = memmem(body, (size_t)(end - body), "\"method\":\"", 10);
    const char *id = memmem(body, (size_t)(end - body), "\"id\":", 5);
    int modern = memmem(head, (size_t)(body - head), "2026-07-28", 10) != NULL;
    if (!method || !id) {
        const char *accepted = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
        send(fd, accepted, strlen(accepted), MSG_NOSIGNAL);
        return;
    }
    method += 10;
    id += 5;
    int id_length = 0;
    while (id + id_length < end && id[id_length] != ',' && id[id_length] != '}') id_length++;
    if (!strncmp(method, "tools/call", 10)) {
        char result[256];
        snprintf(result, sizeof result, CALL, modern ? MODERN : "");
        reply(fd, "", id, id_length, result);
    } else if (!strncmp(method, "tools/list", 10)) {
        size_t room = strlen(tools) + 128;
        char *result = malloc(room);
        if (!result) exit(1);
        snprintf(result, room, "{\"tools\":%s%s}", tools, modern ? ",\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\"" : "");
        reply(fd, "", id, id_length, result);
        free(result);
    } else if (!strncmp(method, "initialize", 10)) {
        reply(fd, "mcp-session-id: raw-1\r\n", id, id_length,
              "{\"protocolVersion\":\"2025-11-25\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"raw\",\"version\":\"1\"}}");
    } else if (!strncmp(method, "server/discover", 15) && !getenv("RAW_LEGACY")) {
        reply(fd, "", id, id_length,
              "{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}},\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\"}");
    } else {
        const char *unknown = "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 7\r\n\r\nunknown";
        send(fd, unknown, strlen(unknown), MSG_NOSIGNAL);
    }
}

static size_t content_length(const char *head, const char *end) {
    for (const char *at = head; at < end; at++)
        if ((*at == '\n') && !strncasecmp(at + 1, "content-length:", 15)) return (size_t)atol(at + 16);
    return 0;
}

static int readable(int fd) {
    struct connection *c = connections[fd];
    ssize_t got = recv(fd, c->bytes + c->used, ROOM - c->used, 0);
    if (got <= 0) return got < 0 && errno == EAGAIN;
    c->used += (size_t)got;
    for (;;) {
        char *gap = memmem(c->bytes, c->used, "\r\n\r\n", 4);
        if (!gap) return c->used < ROOM;
        size_t whole = (size_t)(gap + 4 - c->bytes) + content_length(c->bytes, gap);
        if (whole > ROOM) return 0;
        if (c->used < whole) return 1;
        answer(fd, c->bytes, gap + 4, c->bytes + whole);
        memmove(c->bytes, c->bytes + whole, c->used - whole);
        c->used -= whole;
        if (!c->used) return 1;
    }
}

int main(int count, char **words) {
    int port = count > 1 ? atoi(words[1]) : 9400;
    make_tools(count > 2 ? atoi(words[2]) : 10);
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) { perror("listen"); return 1; }
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, events[256];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int client;
                while ((client = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (client >= MOST_FDS || !(connections[client] = calloc(1, sizeof(struct connection)))) { close(client); continue; }
                    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                    struct epoll_event added = {.events = EPOLLIN, .data.fd = client};
                    epoll_ctl(poll, EPOLL_CTL_ADD, client, &added);
                }
            } else if (!readable(fd)) {
                free(connections[fd]);
                close(fd);
            }
        }
    }
}
