/*
 * Credentials of the machine: the container's endpoint and the instance's metadata, never by a proxy, against a stand-in that refuses what
 * they refuse (spec/support/aws_standin.py).
 */
#include "clock.h"
#include "credentials_scene.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* -------------------------------------------------------------- the machine */

static void containers_give_credentials_to_who_has_the_token(void) {
  scene();
  use_container();
  CHECK_GIVEN(find());
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "wrong-token", 1);
  CHECK_FAILS(find(), "/container/credentials answered with status 401");
  unsetenv("AWS_CONTAINER_AUTHORIZATION_TOKEN");
  CHECK_FAILS(find(), "status 401");
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "wrong-token", 1);
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", put_text("token", "container-token\n"), 1);
  CHECK_GIVEN(find());
  put_text("token", "container-token\r\nX-Other: x");
  CHECK_FAILS(find(), "TOKEN_FILE holds no token of one line");
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/nowhere", 1);
  CHECK_FAILS(find(), "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: '/nowhere' is not there");

  scene();
  use_container();
  standin_set("answer", "\"hidden-secret\"");
  CHECK_FAILS(find(), "gave no JSON object");
  standin_set("answer", "\"\"");
  CHECK_FAILS(find(), "gave no JSON object");
  standin_set("answer", NULL);
  char *elsewhere = bson_strdup_printf("\"http://127.0.0.1:%d/container/credentials\"", standin.port);
  standin_set("redirect", elsewhere);
  CHECK_FAILS(find(), "answered with status 302");
  bson_free(elsewhere);
}

static void container_addresses_beyond_the_machine_are_refused(void) {
  static const char *const refused[] = {"http://example.com/x",
                                        "http://10.0.0.1/x",
                                        "http://169.254.169.254/x",
                                        "http://127.0.0.1@example.com/x",
                                        "http://127.0.0.1.example/x",
                                        "ftp://127.0.0.1/x",
                                        "127.0.0.1/x",
                                        "http://[fd00:ec2::24]/x",
                                        "http://[::2]/x",
                                        "https://user@example.com/x",
                                        "http://localhost.example/",
                                        "http:///x"};
  /* told apart by what follows: these are asked, and nobody answers at port 1 */
  static const char *const allowed[] = {"http://127.0.0.1:1/x", "http://127.8.7.6:1/x", "http://[::1]:1/x",
                                        "http://LOCALHOST:1/x", "https://127.0.0.1:1/x"};
  scene();
  for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", refused[i], 1);
    CHECK_FAILS(find(), "is refused: it must be https");
  }
  for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++) {
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", allowed[i], 1);
    CHECK_FAILS(find(), ":1 does not answer");
  }
  setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "@example.com/x", 1);
  CHECK_FAILS(find(), "does not begin with a slash");
}

static void instances_give_credentials_by_the_second_version(void) {
  scene();
  use_instance();
  int token = standin_count("token"), instance = standin_count("instance");
  CHECK_GIVEN(find());
  CHECK(standin_count("token") == token + 1 && standin_count("instance") == instance + 2);
  standin_set("role", "\"a+b/c\"");
  CHECK_GIVEN(find());
  standin_set("role", "\"two words\"");
  CHECK_FAILS(find(), "gave neither a token nor a name");
  standin_set("role", "null");
  CHECK_HAS(find(), "CredentialsNotFound: ");
  CHECK_HAS(find(), "the instance's metadata: http://127.0.0.1:");
  CHECK_HAS(find(), "answered with status 404");
  standin_set("role", NULL);
  standin_set("token_life_s", "0");
  CHECK_FAILS(find(), "the instance's metadata: http://127.0.0.1:");
  CHECK_HAS(find(), "answered with status 401");
  standin_set("token_life_s", NULL);
  standin_set("answer", "\"{\\\"Code\\\": \\\"Failed\\\\nby us\\\"}\"");
  CHECK_FAILS(find(), "standin-role answered Failed\\x0aby us");
  standin_set("answer", NULL);
  char *elsewhere = bson_strdup_printf("\"http://127.0.0.1:%d/latest/meta-data/\"", standin.port);
  standin_set("redirect", elsewhere);
  CHECK_FAILS(find(), "answered with status 302");
  bson_free(elsewhere);
  setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
  token = standin_count("token");
  CHECK_HAS(find(), "AWS_EC2_METADATA_DISABLED is set");
  CHECK(standin_count("token") == token);
}

static void an_instance_is_asked_twice_for_a_second(void) {
  scene();
  use_instance();
  int token = standin_count("token");
  standin_set("silent", "true"); /* the answer's hops are used up: a container on an instance */
  int64_t began_mono_ms = smig_clock_mono_ms();
  CHECK_HAS(find(), "CredentialsNotFound: ");
  int64_t took_ms = smig_clock_mono_ms() - began_mono_ms;
  CHECK(took_ms >= 1900 && took_ms < 8000, ": %" PRId64 " ms", took_ms);
  CHECK(standin_count("token") == token + 2);
  standin_set("silent", NULL);
  standin_set("refuse", "1");
  CHECK_GIVEN(find());
}

static void the_machine_is_never_asked_through_a_proxy(void) {
  scene();
  char *proxy = bson_strdup_printf("http://127.0.0.1:%d", standin.proxy_port);
  static const char *const names[] = {"http_proxy",  "HTTP_PROXY", "https_proxy",
                                      "HTTPS_PROXY", "all_proxy",  "ALL_PROXY"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) setenv(names[i], proxy, 1);
  bson_free(proxy);
  int seen = standin_count("proxy");
  use_container();
  CHECK_GIVEN(find());
  unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  use_instance();
  CHECK_GIVEN(find());
  CHECK(standin_count("proxy") == seen, ": %d requests", standin_count("proxy") - seen);
  /* the recording works: an ordinary request goes through it, and is answered */
  use_web_identity("web-token-good");
  CHECK_GIVEN(find());
  CHECK(standin_count("proxy") == seen + 1);
}

/* A network of this process's own; root has it for the asking, others within a user namespace where they are root. */
static bool leave_network(void) {
  int user = (int)geteuid();
  if (unshare(CLONE_NEWNET) == 0) return true;
  if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) return false;
  FILE *map = fopen("/proc/self/uid_map", "w");
  return map && fprintf(map, "0 %d 1", user) > 0 && fclose(map) == 0;
}

/* Within a network of our own, so that the addresses AWS gives these services are ours. */
static int in_own_network(void) {
  if (!leave_network()) return 77;
  static const char *const devices[] = {"lo:1", "lo:2"}, *const addresses[] = {"169.254.170.2", "169.254.169.254"};
  int s = socket(AF_INET, SOCK_DGRAM, 0);
  for (size_t i = 0; i < 2; i++) {
    struct ifreq request = {0};
    struct sockaddr_in address = {.sin_family = AF_INET};
    bson_strncpy(request.ifr_name, devices[i], sizeof request.ifr_name);
    inet_pton(AF_INET, addresses[i], &address.sin_addr);
    memcpy(&request.ifr_addr, &address, sizeof address);
    if (ioctl(s, SIOCSIFADDR, &request) != 0) return 77;
  }
  struct ifreq up = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
  if (ioctl(s, SIOCSIFFLAGS, &up) != 0) return 77;
  close(s);

  check_case_ok = true;
  standin_start("0.0.0.0", "80");
  scene();
  setenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/container/relative?x=y", 1);
  setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-token", 1);
  CHECK_GIVEN(find());
  CHECK(standin_count("container") == 1);
  unsetenv("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
  setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.2/container/full", 1);
  CHECK_GIVEN(find());
  CHECK(standin_count("container") == 2);
  unsetenv("AWS_CONTAINER_CREDENTIALS_FULL_URI");
  unsetenv("AWS_EC2_METADATA_DISABLED");
  CHECK_GIVEN(find());
  CHECK(standin_count("token") == 1);
  standin_stop();
  fflush(stdout);
  return check_case_ok ? 0 : 1;
}

static void the_addresses_of_the_machine_are_asked(void) {
  fflush(stdout);
  pid_t child = fork();
  if (child == 0) _exit(in_own_network());
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
    printf("# not run: this machine lets nobody make a network of his own\n");
  else
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, ": status %d", status);
}

int main(void) {
  scene_begin();
  RUN(the_addresses_of_the_machine_are_asked);
  RUN(containers_give_credentials_to_who_has_the_token);
  RUN(container_addresses_beyond_the_machine_are_refused);
  RUN(instances_give_credentials_by_the_second_version);
  RUN(an_instance_is_asked_twice_for_a_second);
  RUN(the_machine_is_never_asked_through_a_proxy);
  return scene_end();
}
