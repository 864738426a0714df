/*
 * Load for a SOCKS5 proxy on 127.0.0.1, and the target behind it.
 *
 *   load open PORT SESSIONS COUNT   connect, CONNECT, echo of one byte, end: COUNT
 *                                   times, SESSIONS at a time
 *   load ping PORT SESSIONS COUNT   COUNT messages of 64 bytes, each sent when the
 *                                   echo of the one before has come
 *   load down PORT SESSIONS BYTES   BYTES from the target over each session
 *   load up   PORT SESSIONS BYTES   BYTES to the target over each session
 *   load hold PORT SESSIONS 0       say "held" when SESSIONS are open, and keep
 *                                   them until the standard input ends
 *
 * and after these a host to ask for instead of 127.0.0.1, and a user and a
 * password to log in with.
 *
 * The target is a process of its own.  A session tells it what to do by a header:
 * 'e' (echo), 's' (send) or 'k' (keep), and a count of bytes.  Every stream, either
 * way, is a pattern in which each byte depends on its position, and is compared
 * with it on arrival.
 *
 * Sessions that come in numbers are ended by the target: so it is the target's port
 * that stays in TIME_WAIT, and not one of those that the proxy connects from, which
 * would run short.
 *
 * The output is one line of JSON; the first fault is told on the standard error.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    BLOCK = 1 << 16,        /* bytes sent and received at a time */
    PERIOD = 65521,         /* of the pattern: a prime, so that blocks that have
                               changed places do not match */
    MESSAGE = 64,
    HEADER = 9,
    WINDOW = 64,            /* "hold" opens so many at a time */
    STALL = 20000,          /* milliseconds without an event until we give up */
    EVENTS = 512,
};

static unsigned char pattern[PERIOD + BLOCK], buffer[BLOCK];
static int poller, targetPort;
static pid_t target;

static void die(const char *what) {
    perror(what);
    exit(2);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void makePattern(void) {
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof pattern; i++) {
        state = state * 1664525 + 1013904223;
        pattern[i] = i < PERIOD ? state >> 24 : pattern[i - PERIOD];
    }
}

/* The bytes of a stream from a position on; at least BLOCK of them. */
static const unsigned char *patternAt(uint64_t position) {
    return pattern + position % PERIOD;
}

static void watch(int operation, int fd, uint32_t events, void *owner) {
    struct epoll_event event = {.events = events, .data.ptr = owner};
    if (epoll_ctl(poller, operation, fd, &event))
        die("epoll_ctl");
}

static void noDelay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static struct sockaddr_in loopback(unsigned host, int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET,
        .sin_port = htons(port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host),
    };
}

/*
 * recv and send of non-blocking sockets, with three outcomes: bytes that were
 * moved, 0 for "not now", -1 for the end.
 */
static ssize_t outcome(ssize_t count) {
    if (count > 0)
        return count;
    return count < 0 && errno == EAGAIN ? 0 : -1;
}

static ssize_t receive(int fd, void *into, size_t most) {
    return outcome(recv(fd, into, most, 0));
}

/* Go on with a stream; 1: it is sent up to `end`, 0: not yet, -1: it is broken. */
static int sendStream(int fd, uint64_t *moved, uint64_t end) {
    while (*moved < end) {
        size_t most = end - *moved < BLOCK ? end - *moved : BLOCK;
        ssize_t count = outcome(send(fd, patternAt(*moved), most, MSG_NOSIGNAL));
        if (count <= 0)
            return count;
        *moved += count;
    }
    return 1;
}

/* ---- The target. ---- */

struct peer {
    int fd;
    size_t got;             /* of the header */
    unsigned char header[HEADER];
    uint64_t moved, end;    /* of the stream */
};

static bool echo(struct peer *peer) {
    ssize_t count = receive(peer->fd, buffer, BLOCK);
    if (count <= 0)
        return count == 0;
    peer->moved += count;
    return send(peer->fd, buffer, count, MSG_NOSIGNAL) == count && peer->moved != peer->end;
}

static bool keep(struct peer *peer) {
    ssize_t count = receive(peer->fd, buffer, BLOCK);
    if (count <= 0)
        return count == 0;
    if (memcmp(buffer, patternAt(peer->moved), count))
        return false;
    peer->moved += count;
    return peer->moved < peer->end
        || (peer->moved == peer->end && send(peer->fd, "k", 1, MSG_NOSIGNAL) == 1);
}

static bool feed(struct peer *peer, uint32_t events) {
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        return receive(peer->fd, buffer, BLOCK) == 0;
    int sent = sendStream(peer->fd, &peer->moved, peer->end);
    if (sent <= 0)
        return sent == 0;
    watch(EPOLL_CTL_MOD, peer->fd, EPOLLIN, peer);
    return shutdown(peer->fd, SHUT_WR) == 0;
}

/* What came for a connection; false: it is over. */
static bool serve(struct peer *peer, uint32_t events) {
    if (peer->got < HEADER) {
        ssize_t count = receive(peer->fd, peer->header + peer->got, HEADER - peer->got);
        peer->got += count > 0 ? count : 0;
        memcpy(&peer->end, peer->header + 1, sizeof peer->end);
        if (peer->got == HEADER && peer->header[0] == 's')
            watch(EPOLL_CTL_MOD, peer->fd, EPOLLIN | EPOLLOUT, peer);
        return count >= 0;
    }
    switch (peer->header[0]) {
    case 'e': return echo(peer);
    case 'k': return keep(peer);
    case 's': return feed(peer, events);
    default: return false;
    }
}

static void acceptAll(int listener) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct peer *peer = calloc(1, sizeof *peer);
        if (!peer)
            die("calloc");
        noDelay(fd);
        peer->fd = fd;
        watch(EPOLL_CTL_ADD, fd, EPOLLIN, peer);
    }
}

static void runTarget(int listeners[2]) {
    struct epoll_event events[EVENTS];
    poller = epoll_create1(0);
    watch(EPOLL_CTL_ADD, listeners[0], EPOLLIN, &listeners[0]);
    watch(EPOLL_CTL_ADD, listeners[1], EPOLLIN, &listeners[1]);
    for (;;) {
        int count = epoll_wait(poller, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if ((int *)peer == &listeners[0] || (int *)peer == &listeners[1]) {
                acceptAll(*(int *)peer);
            } else if (!serve(peer, events[i].events)) {
                close(peer->fd);
                free(peer);
            }
        }
    }
}

/*
 * Listen on 127.0.0.1 and, for those who take "localhost" for it, on the same port
 * of ::1 where there is one.
 */
static void startTarget(void) {
    struct sockaddr_in address = loopback(1, 0);
    struct sockaddr_in6 address6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    socklen_t size = sizeof address;
    int listeners[2];
    listeners[0] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listeners[0], (void *)&address, size) || listen(listeners[0], 4096)
        || getsockname(listeners[0], (void *)&address, &size))
        die("listen");
    address6.sin6_port = address.sin_port;
    listeners[1] = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listeners[1], (void *)&address6, sizeof address6) || listen(listeners[1], 4096))
        listeners[1] = dup(listeners[0]);
    targetPort = ntohs(address.sin_port);
    pid_t parent = getpid();
    target = fork();
    if (target < 0)
        die("fork");
    if (target == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            exit(0);        /* it is over already */
        runTarget(listeners);
    }
    close(listeners[0]);
    close(listeners[1]);
}

/* ---- The sessions. ---- */

enum stage { CONNECTING, GREETED, LOGGING_IN, REQUESTED, OPEN, HELD };

struct session {
    int fd;
    enum stage stage;
    size_t got;             /* of the answer that is awaited */
    unsigned char answer[262];
    uint64_t moved;         /* of the stream */
    double since;
};

static const char *verb, *host = "127.0.0.1", *user, *password;
static int proxyPort;
static uint64_t amount;     /* messages or bytes */
static uint64_t asked;      /* messages sent */
static uint64_t started, pending, done, failed, bytes;
static double *samples;     /* seconds; one for each that is done */

static bool is(const char *name) {
    return strcmp(verb, name) == 0;
}

static void finish(struct session *session) {
    if (session->stage != HELD)
        pending--;
    close(session->fd);
}

__attribute__((format(printf, 2, 3)))
static void fail(struct session *session, const char *format, ...) {
    if (!failed++) {
        va_list arguments;
        va_start(arguments, format);
        fprintf(stderr, "load %s: ", verb);
        vfprintf(stderr, format, arguments);
        fputc('\n', stderr);
        va_end(arguments);
    }
    finish(session);
}

/* Each client's address has its own ports: there is no lack of them. */
static void start(struct session *session) {
    struct sockaddr_in from = loopback(2 + started % 200, 0), to = loopback(1, proxyPort);
    int one = 1;
    started++, pending++;
    session->stage = CONNECTING;
    session->since = now();
    session->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (session->fd < 0)
        die("socket");
    noDelay(session->fd);
    setsockopt(session->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
    if (bind(session->fd, (void *)&from, sizeof from))
        die("bind");
    if (connect(session->fd, (void *)&to, sizeof to) && errno != EINPROGRESS)
        die("connect");
    watch(EPOLL_CTL_ADD, session->fd, EPOLLOUT, session);
}

/* Something short; false: it has failed, and is told. */
static bool say(struct session *session, const void *what, size_t size) {
    if (send(session->fd, what, size, MSG_NOSIGNAL) == (ssize_t)size)
        return true;
    fail(session, "cannot send: %s", strerror(errno));
    return false;
}

static void sendLogin(struct session *session) {
    unsigned char login[513];
    int size = snprintf((char *)login, sizeof login, "\1%c%s%c%s", (int)strlen(user), user,
                        (int)strlen(password), password);
    session->stage = LOGGING_IN;
    say(session, login, size);
}

static void sendRequest(struct session *session) {
    unsigned char request[262] = {5, 1, 0, 1};
    size_t size = 4;
    if (inet_pton(AF_INET, host, request + size) == 1) {
        size += 4;
    } else {
        request[3] = 3;
        request[size++] = strlen(host);
        memcpy(request + size, host, strlen(host));
        size += strlen(host);
    }
    request[size++] = targetPort >> 8;
    request[size++] = targetPort & 255;
    session->stage = REQUESTED;
    say(session, request, size);
}

/* Where the stream ends; others than these the target does not end. */
static uint64_t streamEnd(void) {
    return is("open") ? 1 : is("down") || is("up") ? amount : UINT64_MAX;
}

/* The first bytes of a session that is open now: what the target shall do. */
static void opened(struct session *session) {
    unsigned char first[HEADER + MESSAGE] = {is("down") ? 's' : is("up") ? 'k' : 'e'};
    size_t size = HEADER + (is("ping") ? MESSAGE : is("open") || is("hold") ? 1 : 0);
    uint64_t end = streamEnd();
    memcpy(first + 1, &end, sizeof end);
    memcpy(first + HEADER, pattern, MESSAGE);
    session->stage = OPEN;
    if (is("ping")) {
        asked++;
        session->since = now();
    }
    if (say(session, first, size) && is("up"))
        watch(EPOLL_CTL_MOD, session->fd, EPOLLIN | EPOLLOUT, session);
}

/* The size of the answer that is awaited, as far as it is known. */
static size_t expected(const struct session *session) {
    if (session->stage != REQUESTED)
        return 2;
    if (session->got < 5)
        return 5;
    return session->answer[3] == 1 ? 10 : session->answer[3] == 4 ? 22 : 7 + session->answer[4];
}

static void handshake(struct session *session) {
    while (session->got < expected(session)) {
        ssize_t count = receive(session->fd, session->answer + session->got,
                                expected(session) - session->got);
        if (count < 0)
            fail(session, "the proxy closed in the handshake, at stage %d", session->stage);
        if (count <= 0)
            return;
        session->got += count;
    }
    int answer = session->answer[1];
    session->got = 0;
    if (session->stage == GREETED && answer == (user ? 2 : 0))
        user ? sendLogin(session) : sendRequest(session);
    else if (session->stage == LOGGING_IN && answer == 0)
        sendRequest(session);
    else if (session->stage == REQUESTED && answer == 0)
        opened(session);
    else
        fail(session, "the proxy answered %d at stage %d", answer, session->stage);
}

static void connected(struct session *session) {
    watch(EPOLL_CTL_MOD, session->fd, EPOLLIN, session);
    session->stage = GREETED;
    say(session, user ? "\5\1\2" : "\5\1\0", 3);
}

static void upload(struct session *session) {
    int sent = sendStream(session->fd, &session->moved, amount);
    if (sent < 0)
        fail(session, "broken after %" PRIu64 " bytes were sent", session->moved);
    else if (sent)
        watch(EPOLL_CTL_MOD, session->fd, EPOLLIN, session);
}

/* All of it is done. */
static void over(struct session *session) {
    samples[done++] = now() - session->since;
    finish(session);
}

/* Bytes have come, and they are right. */
static void received(struct session *session) {
    if (is("hold")) {
        session->stage = HELD;
        pending--;
        done++;
    } else if (is("ping") && session->moved % MESSAGE == 0) {
        if (asked >= amount) {
            over(session);
            return;
        }
        asked++;
        samples[done++] = now() - session->since;
        session->since = now();
        say(session, patternAt(session->moved), MESSAGE);
    }
}

/* What the target said: the echo, its stream, or that it kept all. */
static void listenTo(struct session *session) {
    ssize_t count = receive(session->fd, buffer, BLOCK);
    if (count == 0)
        return;
    if (is("up")) {
        if (count != 1 || buffer[0] != 'k' || session->moved != amount) {
            fail(session, "the target did not get what was sent");
            return;
        }
        bytes += amount;
        over(session);
    } else if (count < 0) {
        if (session->moved == streamEnd())
            over(session);
        else
            fail(session, "ended after %" PRIu64 " bytes", session->moved);
    } else if (memcmp(buffer, patternAt(session->moved), count)) {
        fail(session, "wrong bytes after %" PRIu64, session->moved);
    } else {
        session->moved += count;
        bytes += count;
        received(session);
    }
}

static void step(struct session *session, uint32_t events) {
    switch (session->stage) {
    case CONNECTING:
        connected(session);
        break;
    case OPEN:
        if (events & ~EPOLLOUT)
            listenTo(session);
        else
            upload(session);
        break;
    case HELD:
        if (target)
            fail(session, "a session that was held did not stay");
        else
            finish(session);
        break;
    default:
        handshake(session);
    }
}

static int ascending(const void *one, const void *other) {
    double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double percentile(double part) {
    return done && !is("hold") ? samples[(size_t)((done - 1) * part)] * 1e6 : 0;
}

/* Wait for events and serve them; false: there are none. */
static bool turn(int timeout) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(poller, events, EVENTS, timeout);
    for (int i = 0; i < count; i++)
        step(events[i].data.ptr, events[i].events);
    return count > 0;
}

int main(int argc, char **argv) {
    if (argc < 5 || argc == 7 || argc > 8) {
        fprintf(stderr, "load VERB PORT SESSIONS AMOUNT [HOST [USER PASSWORD]]\n");
        return 2;
    }
    verb = argv[1];
    proxyPort = atoi(argv[2]);
    uint64_t total = strtoull(argv[3], NULL, 10), window = is("hold") ? WINDOW : total;
    amount = strtoull(argv[4], NULL, 10);
    if (argc > 5)
        host = argv[5];
    if (argc > 7)
        user = argv[6], password = argv[7];
    if (is("open"))
        total = amount;
    makePattern();
    startTarget();
    poller = epoll_create1(0);
    struct session *sessions = calloc(total, sizeof *sessions);
    samples = calloc(total + (is("open") || is("ping") ? amount : 0), sizeof *samples);
    double begin = now();
    do {
        while (started < total && pending < window)
            start(&sessions[started]);
        if (!turn(STALL)) {
            fprintf(stderr, "load %s: nothing happens any more\n", verb);
            failed += pending;
            break;
        }
    } while (pending || started < total);
    double seconds = now() - begin;
    if (is("hold")) {
        puts("held");
        fflush(stdout);
        while (read(STDIN_FILENO, buffer, BLOCK) > 0)
            ;
        while (turn(0))
            ;
        kill(target, SIGKILL);
        waitpid(target, NULL, 0);
        target = 0;
        while (turn(500))
            ;
    }
    qsort(samples, is("hold") ? 0 : done, sizeof *samples, ascending);
    printf("{\"done\": %" PRIu64 ", \"failed\": %" PRIu64 ", \"bytes\": %" PRIu64
           ", \"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f}\n",
           done, failed, bytes, seconds, percentile(0.5), percentile(0.99));
    return failed > 0;
}
