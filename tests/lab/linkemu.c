/*
 * linkemu: a network link between two network namespaces, in user space, for kernels without sch_netem.
 *
 * Each namespace gets a TUN device with an MTU of 1500. Packets cross with a rate, a drop-tail queue, a one-way
 * delay and random loss (single packets, or bursts). Counters are printed on SIGTERM.
 *
 *   linkemu NS_A IP_A NS_B IP_B RATE_MBIT ONE_WAY_US LOSS_PERCENT QUEUE_BYTES SEED BURST_PACKETS
 *
 * RATE_MBIT 0 means unlimited. Both directions are alike. Needs root. One thread per direction. A line
 * "RATE_MBIT ONE_WAY_US LOSS_PERCENT QUEUE_BYTES" on standard input changes the link; packets keep their order.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define MAX_PACKET 1600
#define RING_PACKETS 65536 /* 100 MB of packets: more than any queue and delay asked for here */
#define BATCH_PACKETS 256
#define NS_PER_S 1000000000ull

typedef struct {
    uint64_t due_ns;
    uint16_t length;
    char data[MAX_PACKET];
} Packet;

typedef struct {
    const char *name;
    int from, to;
    volatile double ns_per_byte; /* 0: unlimited */
    volatile double loss;        /* share of packets */
    int burst_packets, burst_left;
    volatile uint64_t delay_ns, queue_bytes;
    uint64_t random_state;
    uint64_t received, sent, lost, dropped_by_queue, sent_bytes;
} Direction;

static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

/* xorshift64: repeatable for a seed, and good enough to lose packets by. */
static double uniform(Direction *d) {
    d->random_state ^= d->random_state << 13;
    d->random_state ^= d->random_state >> 7;
    d->random_state ^= d->random_state << 17;
    return (double)(d->random_state >> 11) * (1.0 / 9007199254740992.0);
}

static int is_lost(Direction *d) {
    if (d->loss <= 0)
        return 0;
    if (d->burst_left > 0) {
        d->burst_left--;
        return 1;
    }
    if (uniform(d) >= d->loss / d->burst_packets)
        return 0;
    d->burst_left = d->burst_packets - 1;
    return 1;
}

/* Reads what waits, and gives every packet that is neither lost nor dropped the time at which it arrives. */
static uint64_t take_in(Direction *d, Packet *ring, uint64_t head, uint64_t tail, uint64_t *busy_until_ns) {
    for (int i = 0; i < BATCH_PACKETS && tail - head < RING_PACKETS; i++) {
        Packet *packet = &ring[tail % RING_PACKETS];
        ssize_t length = read(d->from, packet->data, sizeof packet->data);
        if (length <= 0)
            break;
        uint64_t now = now_ns();
        d->received++;
        if (is_lost(d)) {
            d->lost++;
            continue;
        }
        packet->due_ns = now + d->delay_ns;
        if (d->ns_per_byte > 0) {
            if (*busy_until_ns < now)
                *busy_until_ns = now;
            if ((double)(*busy_until_ns - now) / d->ns_per_byte + (double)length > (double)d->queue_bytes) {
                d->dropped_by_queue++;
                continue;
            }
            *busy_until_ns += (uint64_t)((double)length * d->ns_per_byte);
            packet->due_ns = *busy_until_ns + d->delay_ns;
        }
        packet->length = (uint16_t)length;
        tail++;
    }
    return tail;
}

static uint64_t give_out(Direction *d, Packet *ring, uint64_t head, uint64_t tail) {
    uint64_t now = now_ns();
    while (head < tail && ring[head % RING_PACKETS].due_ns <= now) {
        Packet *packet = &ring[head++ % RING_PACKETS];
        if (write(d->to, packet->data, packet->length) > 0) {
            d->sent++;
            d->sent_bytes += packet->length;
        }
    }
    return head;
}

/* Both directions are told; a torn read of one number for one packet would hurt nobody. */
static void *obey(void *argument) {
    Direction **both = argument;
    double rate_mbit, loss_percent;
    unsigned long one_way_us, queue_bytes;
    while (scanf("%lf %lu %lf %lu", &rate_mbit, &one_way_us, &loss_percent, &queue_bytes) == 4)
        for (int i = 0; i < 2; i++) {
            both[i]->ns_per_byte = rate_mbit > 0 ? 8000.0 / rate_mbit : 0;
            both[i]->delay_ns = (uint64_t)one_way_us * 1000;
            both[i]->loss = loss_percent / 100;
            both[i]->queue_bytes = queue_bytes;
        }
    return NULL;
}

static void *run(void *argument) {
    Direction *d = argument;
    Packet *ring = malloc(sizeof(Packet) * RING_PACKETS);
    uint64_t head = 0, tail = 0, busy_until_ns = 0;
    if (ring == NULL)
        exit(2);
    prctl(PR_SET_TIMERSLACK, 1000); /* 1 us: the default of 50 us would be jitter */
    while (!stopping) {
        tail = take_in(d, ring, head, tail, &busy_until_ns);
        head = give_out(d, ring, head, tail);
        struct timespec wait = {1, 0};
        if (head < tail) {
            uint64_t now = now_ns(), due = ring[head % RING_PACKETS].due_ns;
            uint64_t left = due > now ? due - now : 0;
            wait.tv_sec = (time_t)(left / NS_PER_S);
            wait.tv_nsec = (long)(left % NS_PER_S);
        }
        struct pollfd readable = {d->from, POLLIN, 0};
        if (tail - head < RING_PACKETS)
            ppoll(&readable, 1, &wait, NULL);
        else
            nanosleep(&wait, NULL);
    }
    free(ring);
    return NULL;
}

static int open_tun(const char *namespace, const char *address) {
    char path[128], setup[512];
    snprintf(path, sizeof path, "/var/run/netns/%s", namespace);
    int handle = open(path, O_RDONLY);
    if (handle < 0 || setns(handle, CLONE_NEWNET) < 0) {
        perror(path);
        exit(2);
    }
    close(handle);
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
    struct ifreq request;
    memset(&request, 0, sizeof request);
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    strcpy(request.ifr_name, "emu0");
    if (device < 0 || ioctl(device, TUNSETIFF, &request) < 0) {
        perror("/dev/net/tun");
        exit(2);
    }
    snprintf(setup, sizeof setup,
             "ip link set lo up && ip link set emu0 mtu 1500 txqueuelen 20000 up && "
             "ip addr add %s/24 dev emu0 && ip route add default dev emu0",
             address);
    if (system(setup) != 0)
        exit(2);
    return device;
}

int main(int count, char **argument) {
    if (count != 11) {
        fprintf(stderr, "usage: linkemu NS_A IP_A NS_B IP_B RATE_MBIT ONE_WAY_US LOSS_PERCENT QUEUE_BYTES SEED BURST\n");
        return 2;
    }
    int home = open("/proc/self/ns/net", O_RDONLY);
    int a = open_tun(argument[1], argument[2]);
    int b = open_tun(argument[3], argument[4]);
    if (setns(home, CLONE_NEWNET) < 0)
        return 2;
    double rate_mbit = atof(argument[5]);
    Direction forward = {
        .name = "A>B",
        .from = a,
        .to = b,
        .ns_per_byte = rate_mbit > 0 ? 8000.0 / rate_mbit : 0,
        .delay_ns = (uint64_t)atoll(argument[6]) * 1000,
        .loss = atof(argument[7]) / 100,
        .queue_bytes = (uint64_t)atoll(argument[8]),
        .random_state = 0x9E3779B97F4A7C15ull ^ ((uint64_t)atoll(argument[9]) * 2654435761ull + 1),
        .burst_packets = atoi(argument[10]),
    };
    Direction back = forward;
    back.name = "B>A";
    back.from = b;
    back.to = a;
    back.random_state = forward.random_state * 31 + 7;
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    pthread_t threads[2];
    pthread_create(&threads[0], NULL, run, &forward);
    pthread_create(&threads[1], NULL, run, &back);
    Direction *both[] = {&forward, &back};
    pthread_t obeying;
    pthread_create(&obeying, NULL, obey, both);
    printf("up\n");
    fflush(stdout);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
    for (int i = 0; i < 2; i++)
        printf("%s received=%lu sent=%lu lost=%lu queue_drops=%lu bytes=%lu\n", both[i]->name, both[i]->received,
               both[i]->sent, both[i]->lost, both[i]->dropped_by_queue, both[i]->sent_bytes);
    return 0;
}
